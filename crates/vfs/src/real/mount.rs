//! Whether a path is on a network file system, where locks and mappings cannot be trusted.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::MountKind;

/// The magic numbers by which `statfs` tells network and cluster file systems.
const NETWORK_MAGICS: &[(u32, &str)] = &[
    (0x0000_6969, "nfs"),
    (0x0000_517b, "smb"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x0bd0_0bd0, "lustre"),
    (0x0116_1970, "gfs2"),
    (0x7461_636f, "ocfs2"),
    (0x5346_414f, "afs"),
    (0x6b41_4653, "kafs"),
    (0x7375_7245, "coda"),
    (0x0000_564c, "ncp"),
    (0x1983_0326, "beegfs"),
    (0x4750_4653, "gpfs"),
    (0xaad7_aaea, "panfs"),
    (0x786f_4256, "vboxsf"),
    (0xbacb_acbc, "vmhgfs"),
];

/// What `statfs` says of every file system that a program serves; which one it is, the mount table tells.
const FUSE_MAGIC: u32 = 0x6573_5546;
/// Network file systems served by programs, as the mount table names them.
const NETWORK_FUSE: &[&str] = &[
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.ceph-fuse",
    "fuse.ceph",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.goofys",
    "fuse.gcsfuse",
    "fuse.blobfuse2",
    "fuse.mount-s3",
    "fuse.juicefs",
    "fuse.davfs",
    "fuse.curlftpfs",
    "fuse.seaweedfs",
    "fuse.vmhgfs-fuse",
    "fuse.lizardfs",
    "fuse.moosefs",
    "fuse.mfs",
];

/// Looks at the file system of `path`.
pub(super) fn kind(path: &Path) -> io::Result<MountKind> {
    let magic = rustix::fs::statfs(path)?.f_type as u32;
    if let Some((_, name)) = NETWORK_MAGICS.iter().find(|(network, _)| *network == magic) {
        return Ok(MountKind::Network(name));
    }
    if magic == FUSE_MAGIC {
        let device = fs::metadata(path)?.dev();
        return Ok(fuse_kind(&fs::read_to_string("/proc/self/mountinfo")?, device));
    }
    Ok(MountKind::Local)
}

/// Finds the mount of `device` in the text of `/proc/self/mountinfo`: its third field is `major:minor`, and the first
/// field after the lone dash names the type.
fn fuse_kind(mount_table: &str, device: u64) -> MountKind {
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    mount_table
        .lines()
        .filter(|line| line.split(' ').nth(2) == Some(device.as_str()))
        .filter_map(|line| line.split_once(" - ")?.1.split(' ').next())
        .find_map(|found| NETWORK_FUSE.iter().find(|name| **name == found))
        .map_or(MountKind::Local, |name| MountKind::Network(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fuse_mount_is_told_by_the_mount_table() {
        let table = "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
                     36 22 0:41 / /mnt/far rw,nosuid shared:9 - fuse.sshfs me@host: rw,user_id=0\n\
                     37 22 0:42 / /mnt/near rw,nosuid - fuse.ntfs-3g /dev/sdb1 rw\n";
        assert_eq!(fuse_kind(table, rustix::fs::makedev(0, 41)), MountKind::Network("fuse.sshfs"));
        assert_eq!(fuse_kind(table, rustix::fs::makedev(0, 42)), MountKind::Local);
        assert_eq!(fuse_kind(table, rustix::fs::makedev(0, 43)), MountKind::Local);
    }

    #[test]
    fn magics_are_listed_once() {
        let mut magics: Vec<u32> = NETWORK_MAGICS.iter().map(|(magic, _)| *magic).collect();
        magics.sort_unstable();
        magics.dedup();
        assert_eq!(magics.len(), NETWORK_MAGICS.len());
    }
}
