// Badger 2 behind a C interface, for the benchmark (crates/bench/src/peers/badger.rs, where the contract of each
// function stands). `cargo xtask peers` builds it as a shared library, from the sources that Debian packages
// (golang-github-dgraph-io-badger-dev).
//
// Functions that can fail return an error as an allocated string, or nil. Bytes are borrowed for the time of a call:
// Badger keeps keys and values until a transaction is committed, which is within it.
package main

// #include <stdint.h>
// #include <stdlib.h>
import "C"

import (
	"encoding/binary"
	"sync"
	"time"
	"unsafe"

	"github.com/dgraph-io/badger"
	"github.com/dgraph-io/badger/options"
)

const (
	collectEvery = time.Second
	// What Badger's documentation recommends.
	discardRatio = 0.5
)

type store struct {
	db *badger.DB
	// Closed to end collecting, which then closes `collected`.
	closing   chan struct{}
	collected chan struct{}
}

type cursor struct {
	txn      *badger.Txn
	iterator *badger.Iterator
	reverse  bool
}

// Handles of stores and cursors: C must not hold pointers of Go.
var (
	lock    sync.RWMutex
	last    uint64
	stores  = map[uint64]*store{}
	cursors = map[uint64]*cursor{}
)

func main() {}

//export ratel_badger_open
func ratel_badger_open(
	dir *C.char, memtableBytes, cacheBytes, separatedFromBytes, valueLogFileBytes C.uint64_t, snappy, zstd, collects C.uint8_t,
	handle *C.uint64_t,
) *C.char {
	compression := options.None
	if snappy != 0 {
		compression = options.Snappy
	} else if zstd != 0 {
		compression = options.ZSTD
	}
	opts := badger.DefaultOptions(C.GoString(dir)).
		WithLogger(nil).
		WithSyncWrites(false).
		WithMaxTableSize(int64(memtableBytes)).
		WithBlockCacheSize(int64(cacheBytes)).
		WithValueThreshold(int(separatedFromBytes)).
		WithCompression(compression)
	// Nothing stands for the default.
	if valueLogFileBytes != 0 {
		opts = opts.WithValueLogFileSize(int64(valueLogFileBytes))
	}
	db, err := badger.Open(opts)
	if err != nil {
		return C.CString(err.Error())
	}
	opened := &store{db: db, closing: make(chan struct{}), collected: make(chan struct{})}
	if collects != 0 {
		go opened.collect()
	} else {
		close(opened.collected)
	}
	lock.Lock()
	last++
	stores[last] = opened
	*handle = C.uint64_t(last)
	lock.Unlock()
	return nil
}

// collect rewrites the value log every second, as often as there is something to gain.
func (s *store) collect() {
	defer close(s.collected)
	ticker := time.NewTicker(collectEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.closing:
			return
		case <-ticker.C:
			for s.db.RunValueLogGC(discardRatio) == nil {
			}
		}
	}
}

//export ratel_badger_close
func ratel_badger_close(handle C.uint64_t) *C.char {
	closed := storeOf(handle)
	close(closed.closing)
	<-closed.collected
	lock.Lock()
	delete(stores, uint64(handle))
	lock.Unlock()
	return failure(closed.db.Close())
}

//export ratel_badger_put
func ratel_badger_put(
	handle C.uint64_t, key unsafe.Pointer, keyLen C.size_t, value unsafe.Pointer, valueLen C.size_t, sync C.uint8_t,
) *C.char {
	return storeOf(handle).update(sync, func(txn *badger.Txn) error {
		return txn.Set(bytesAt(key, keyLen), bytesAt(value, valueLen))
	})
}

//export ratel_badger_delete
func ratel_badger_delete(handle C.uint64_t, key unsafe.Pointer, keyLen C.size_t, sync C.uint8_t) *C.char {
	return storeOf(handle).update(sync, func(txn *badger.Txn) error {
		return txn.Delete(bytesAt(key, keyLen))
	})
}

// ratel_badger_write sets entries that stand one behind the other: lengths of key and value in four bytes each, little
// end first, key, value.
//
//export ratel_badger_write
func ratel_badger_write(handle C.uint64_t, entries unsafe.Pointer, entriesLen C.size_t, sync C.uint8_t) *C.char {
	left := bytesAt(entries, entriesLen)
	return storeOf(handle).update(sync, func(txn *badger.Txn) error {
		for len(left) > 0 {
			keyLen, valueLen := binary.LittleEndian.Uint32(left), binary.LittleEndian.Uint32(left[4:])
			key, value := left[8:8+keyLen], left[8+keyLen:8+keyLen+valueLen]
			if err := txn.Set(key, value); err != nil {
				return err
			}
			left = left[8+keyLen+valueLen:]
		}
		return nil
	})
}

func (s *store) update(sync C.uint8_t, change func(txn *badger.Txn) error) *C.char {
	err := s.db.Update(change)
	if err == nil && sync != 0 {
		err = s.db.Sync()
	}
	return failure(err)
}

//export ratel_badger_get
func ratel_badger_get(handle C.uint64_t, key unsafe.Pointer, keyLen C.size_t, valueLen *C.int64_t) *C.char {
	*valueLen = -1
	return failure(storeOf(handle).db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(bytesAt(key, keyLen))
		if err == badger.ErrKeyNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := item.ValueCopy(nil)
		if err == nil {
			*valueLen = C.int64_t(len(value))
		}
		return err
	}))
}

//export ratel_badger_cursor
func ratel_badger_cursor(handle C.uint64_t, from unsafe.Pointer, fromLen C.size_t, reverse C.uint8_t) C.uint64_t {
	opts := badger.DefaultIteratorOptions
	opts.Reverse = reverse != 0
	txn := storeOf(handle).db.NewTransaction(false)
	opened := &cursor{txn: txn, iterator: txn.NewIterator(opts), reverse: opts.Reverse}
	if from == nil {
		opened.iterator.Rewind()
	} else {
		// Badger keeps the key while it seeks.
		opened.iterator.Seek(append([]byte(nil), bytesAt(from, fromLen)...))
	}
	lock.Lock()
	defer lock.Unlock()
	last++
	cursors[last] = opened
	return C.uint64_t(last)
}

// ratel_badger_next fills a buffer with entries as `write` takes them, and tells in `needed` where the next one has no
// room in an empty one.
//
//export ratel_badger_next
func ratel_badger_next(
	handle C.uint64_t, limit C.uint64_t, buffer unsafe.Pointer, bufferLen C.size_t, filled, needed *C.size_t,
) *C.char {
	lock.RLock()
	iterator := cursors[uint64(handle)].iterator
	lock.RUnlock()
	out := bytesAt(buffer, bufferLen)
	*filled, *needed = 0, 0
	for entries := uint64(0); entries < uint64(limit) && iterator.Valid(); entries++ {
		key := iterator.Item().Key()
		hasRoom := true
		err := iterator.Item().Value(func(value []byte) error {
			size := 8 + len(key) + len(value)
			if hasRoom = size <= len(out); !hasRoom {
				*needed = C.size_t(size)
				return nil
			}
			binary.LittleEndian.PutUint32(out, uint32(len(key)))
			binary.LittleEndian.PutUint32(out[4:], uint32(len(value)))
			copy(out[8:], key)
			copy(out[8+len(key):], value)
			out = out[size:]
			*filled += C.size_t(size)
			return nil
		})
		if err != nil {
			return failure(err)
		}
		if !hasRoom {
			return nil
		}
		iterator.Next()
	}
	return nil
}

//export ratel_badger_cursor_close
func ratel_badger_cursor_close(handle C.uint64_t) {
	lock.Lock()
	closed := cursors[uint64(handle)]
	delete(cursors, uint64(handle))
	lock.Unlock()
	closed.iterator.Close()
	closed.txn.Discard()
}

//export ratel_badger_free
func ratel_badger_free(message *C.char) {
	C.free(unsafe.Pointer(message))
}

func storeOf(handle C.uint64_t) *store {
	lock.RLock()
	defer lock.RUnlock()
	return stores[uint64(handle)]
}

func bytesAt(start unsafe.Pointer, length C.size_t) []byte {
	return unsafe.Slice((*byte)(start), int(length))
}

func failure(err error) *C.char {
	if err == nil {
		return nil
	}
	return C.CString(err.Error())
}
