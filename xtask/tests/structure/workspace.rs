//! What the other tests look at: the packages as cargo resolves them, and the files as git tracks them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A package of the resolved graph.
#[derive(Clone, Debug, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    pub(crate) folder: PathBuf,
    pub(crate) is_member: bool,
    pub(crate) features: Vec<String>,
    /// Root files of the library and the binaries.
    pub(crate) roots: Vec<PathBuf>,
    /// As the package declares them, optional ones and those of other platforms included.
    pub(crate) declared: Vec<Declared>,
    /// As resolved with the default features, on this platform: package ids.
    pub(crate) resolved: Vec<Resolved>,
}

#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// As code calls it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// Only under this condition, such as `cfg(loom)`.
    pub(crate) condition: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) id: String,
    pub(crate) kinds: Vec<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Normal,
    Build,
    Dev,
}

/// All packages by their id.
pub(crate) type Packages = BTreeMap<String, Package>;

/// Asks cargo for the packages that this platform builds.
pub(crate) fn packages() -> Packages {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    parse(&serde_json::from_slice(&output.stdout).expect("cargo writes JSON"))
}

fn parse(metadata: &Value) -> Packages {
    let members: Vec<String> = strings(&metadata["workspace_members"]);
    let mut packages = Packages::new();
    for package in metadata["packages"].as_array().unwrap() {
        let id = text(&package["id"]);
        let is_member = members.contains(&id);
        packages.insert(id, parse_package(package, is_member));
    }
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let resolved = node["deps"].as_array().unwrap().iter().map(|dependency| Resolved {
            id: text(&dependency["pkg"]),
            kinds: dependency["dep_kinds"].as_array().unwrap().iter().map(|kind| parse_kind(&kind["kind"])).collect(),
        });
        packages.get_mut(&text(&node["id"])).unwrap().resolved = resolved.collect();
    }
    packages
}

fn parse_package(package: &Value, is_member: bool) -> Package {
    let declared = package["dependencies"].as_array().unwrap().iter().map(|dependency| Declared {
        name: dependency["rename"].as_str().unwrap_or(dependency["name"].as_str().unwrap()).replace('-', "_"),
        kind: parse_kind(&dependency["kind"]),
        condition: dependency["target"].as_str().map(str::to_owned),
    });
    let targets = package["targets"].as_array().unwrap().iter();
    let roots = targets.filter(|target| strings(&target["kind"]).iter().any(|kind| kind == "lib" || kind == "bin"));
    Package {
        name: text(&package["name"]),
        version: text(&package["version"]),
        licence: package["license"].as_str().map(str::to_owned),
        folder: Path::new(&text(&package["manifest_path"])).parent().unwrap().to_owned(),
        is_member,
        features: package["features"].as_object().unwrap().keys().cloned().collect(),
        roots: roots.map(|target| PathBuf::from(text(&target["src_path"]))).collect(),
        declared: declared.collect(),
        resolved: Vec::new(),
    }
}

fn parse_kind(kind: &Value) -> Kind {
    match kind.as_str() {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(text).collect()
}

/// A tracked text file.
#[derive(Clone, Debug)]
pub(crate) struct TextFile {
    /// Relative to the root.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl TextFile {
    #[cfg(test)]
    pub(crate) fn of(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Written by a program: style is that program's affair.
    pub(crate) fn is_generated(&self) -> bool {
        self.text.lines().take(5).any(|line| line.contains("automatically generated"))
    }
}

/// Every file that git tracks and that is text.
pub(crate) fn tracked_files() -> Vec<TextFile> {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().expect("git runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = output.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let mut files = Vec::new();
    for name in names {
        let path = String::from_utf8(name.to_vec()).expect("file names of the repository are UTF-8");
        // A binary corpus file, or a file that is being removed, has no text to check.
        if let Ok(text) = fs::read_to_string(root().join(&path)) {
            files.push(TextFile { path, text });
        }
    }
    assert!(files.len() > 50, "git lists the files of the repository");
    files
}
