package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/bits"
)

// The format of a bbolt file, version 2, as far as reading needs it. It is a B+tree of pages in the byte order of the machine.
//
//	meta page   header(16) magic(4) version(4) page-size(4) flags(4) root(8) sequence(8) free-list(8) pages(8) tx(8) checksum(8)
//	header      id(8) kind(2) count(2) overflow(4)
//	leaf        header, count * [flags(4) pos(4) key-size(4) value-size(4)], keys and values
//	branch      header, count * [pos(4) key-size(4) page(8)], keys
//
// Positions count from the start of their own element. A bucket is a value: root(8) sequence(8), and when root is
// 0 a whole leaf page that is small enough to live inside the value.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	headerSize  = 16
	elementSize = 16
	metaSize    = headerSize + 64

	kindBranch = 0x01
	kindLeaf   = 0x02

	flagBucket = 0x01

	minPageSize = 1 << 10
	maxPageSize = 1 << 24
	maxDepth    = 32      // of the tree; four billion keys need less
	maxFileSize = 1 << 30 // the largest table and the longest history need a fiftieth
)

// image reads a bbolt file with ordinary reads and believes nothing in it.
type image struct {
	r        io.ReaderAt
	size     int64
	pageSize int64
	pages    uint64 // how many are in use; those after it are free space
	seen     map[uint64]bool
	taken    int64 // octets of keys and values that were read: rows that overlap could fill the memory
}

// meta is one of the two pages that say where the tree is. bbolt writes them in turns, with each transaction.
type meta struct {
	pageSize        int64
	root, pages, tx uint64
}

// reading is what was found in a file.
type reading struct {
	content

	// torn tells that the rows may be older than those of the latest transaction that was acknowledged.
	torn bool

	// unfinished tells that the latest transaction is not whole and that these are the rows of the one before, which is:
	// the power failed while it was written, see [file.update].
	unfinished bool
}

// readImage returns all rows of a file, whatever its buckets. A file holds two states, that of the latest transaction and
// that of the one before. The latest counts, unless only the other one is whole. The error says in which way the file is
// not sound.
func readImage(r io.ReaderAt, size int64) (reading, error) {
	if size > maxFileSize {
		return reading{}, fmt.Errorf("it is %d bytes long, and at most %d are read", size, maxFileSize)
	}
	metas, err := (&image{r: r, size: size}).metas()
	if err != nil {
		return reading{}, err
	}
	latest, whole, err := readState(r, size, metas[0])
	if whole || len(metas) == 1 {
		return reading{content: latest, torn: len(metas) == 1}, err
	}
	if before, whole, _ := readState(r, size, metas[1]); whole {
		return reading{content: before, unfinished: true}, nil
	}
	if err != nil {
		return reading{}, err
	}
	// Where rows are damaged or missing that will be told of them.
	return reading{content: latest, torn: latest.mixed()}, nil
}

// readState returns the rows of one of the two states, and whether it is whole.
func readState(r io.ReaderAt, size int64, m meta) (c content, whole bool, err error) {
	im := image{r: r, size: size, pageSize: m.pageSize, pages: m.pages, seen: map[uint64]bool{}}
	if m.pages > uint64(size/m.pageSize) {
		return nil, false, fmt.Errorf("it should have %d pages of %d bytes, but is only %d bytes long", m.pages, m.pageSize, size)
	}
	c = newContent()
	err = im.walk(m.root, 0, func(flags uint32, name, value []byte) error {
		if flags&flagBucket == 0 {
			return errors.New("a row where a bucket should be")
		}
		if c[string(name)] == nil {
			c[string(name)] = map[string][]byte{} // of a newer version, or damage: the caller knows
		}
		return im.bucket(value, c[string(name)])
	})
	if err != nil {
		return nil, false, err
	}
	return c, c.whole(m.tx), nil
}

// bucket reads the rows of the bucket that a value describes.
func (im *image) bucket(value []byte, rows map[string][]byte) error {
	if len(value) < 16 {
		return errors.New("a bucket is cut short")
	}
	add := func(flags uint32, key, value []byte) error {
		if flags != 0 {
			return errors.New("a bucket where a row should be")
		}
		rows[string(key)] = bytes.Clone(value)
		return nil
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return im.walk(root, 0, add)
	}
	return im.leaf(value[16:], add)
}

// metas returns the valid ones of the two meta pages, that of the latest transaction first.
func (im *image) metas() ([]meta, error) {
	first, errFirst := im.meta(0)
	if errFirst == nil {
		second, errSecond := im.meta(first.pageSize)
		switch {
		case errSecond != nil:
			return []meta{first}, nil
		case second.tx > first.tx:
			return []meta{second, first}, nil
		default:
			return []meta{first, second}, nil
		}
	}
	// The first one would have told the size of a page, and so where the second one is.
	for at := int64(minPageSize); at <= maxPageSize; at *= 2 {
		if second, err := im.meta(at); err == nil && second.pageSize == at {
			return []meta{second}, nil
		}
	}
	return nil, errFirst
}

func (im *image) meta(at int64) (meta, error) {
	var page [metaSize]byte
	if _, err := im.r.ReadAt(page[:], at); err != nil {
		return meta{}, fmt.Errorf("read its header: %w", err)
	}
	b := page[headerSize:]
	sum := fnv.New64a()
	_, _ = sum.Write(b[:56]) // a hash never fails
	m := meta{
		pageSize: int64(binary.NativeEndian.Uint32(b[8:])),
		root:     binary.NativeEndian.Uint64(b[16:]),
		pages:    binary.NativeEndian.Uint64(b[40:]),
		tx:       binary.NativeEndian.Uint64(b[48:]),
	}
	switch {
	case binary.NativeEndian.Uint32(b) != boltMagic || binary.NativeEndian.Uint32(b[4:]) != boltVersion:
		return meta{}, errors.New("its header is not that of a bbolt file")
	case binary.NativeEndian.Uint64(b[56:]) != sum.Sum64():
		return meta{}, errors.New("the checksum of its header is wrong")
	case m.pageSize < minPageSize || m.pageSize > maxPageSize || bits.OnesCount64(uint64(m.pageSize)) != 1:
		return meta{}, fmt.Errorf("its header tells of pages of %d bytes", m.pageSize)
	}
	return m, nil
}

// walk calls visit for each leaf element of the tree below a page, in order.
func (im *image) walk(id uint64, depth int, visit func(flags uint32, key, value []byte) error) error {
	if depth > maxDepth {
		return errors.New("its tree is too deep")
	}
	page, err := im.page(id)
	if err != nil {
		return err
	}
	switch kind := binary.NativeEndian.Uint16(page[8:]); kind {
	case kindLeaf:
		return im.leaf(page, visit)
	case kindBranch:
		count := int(binary.NativeEndian.Uint16(page[10:]))
		if headerSize+count*elementSize > len(page) {
			return fmt.Errorf("page %d has more elements than space", id)
		}
		for i := range count {
			// Keys of branches only serve to find a row, and all are wanted.
			child := binary.NativeEndian.Uint64(page[headerSize+i*elementSize+8:])
			if err := im.walk(child, depth+1, visit); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("page %d is of kind %#x", id, kind)
	}
}

// page reads a page with those that continue it. Each may be read once: a page with two parents is damage, and
// could keep a reader busy for ever.
func (im *image) page(id uint64) ([]byte, error) {
	if id < 2 || id >= im.pages {
		return nil, fmt.Errorf("page %d of %d is asked for", id, im.pages)
	}
	var header [headerSize]byte
	if _, err := im.r.ReadAt(header[:], int64(id)*im.pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	if found := binary.NativeEndian.Uint64(header[:]); found != id {
		return nil, fmt.Errorf("page %d calls itself %d", id, found)
	}
	more := uint64(binary.NativeEndian.Uint32(header[12:]))
	if more >= im.pages-id {
		return nil, fmt.Errorf("page %d is longer than the file", id)
	}
	for n := id; n <= id+more; n++ {
		if im.seen[n] {
			return nil, fmt.Errorf("page %d is used twice", n)
		}
		im.seen[n] = true
	}
	page := make([]byte, int64(more+1)*im.pageSize)
	if _, err := im.r.ReadAt(page, int64(id)*im.pageSize); err != nil {
		return nil, fmt.Errorf("read page %d: %w", id, err)
	}
	return page, nil
}

// leaf calls visit for each element of a leaf page. The slices are parts of page.
func (im *image) leaf(page []byte, visit func(flags uint32, key, value []byte) error) error {
	if len(page) < headerSize {
		return errors.New("a page is cut short")
	}
	if kind := binary.NativeEndian.Uint16(page[8:]); kind != kindLeaf {
		return fmt.Errorf("a page of kind %#x where rows should be", kind)
	}
	count := int(binary.NativeEndian.Uint16(page[10:]))
	if headerSize+count*elementSize > len(page) {
		return errors.New("a page has more rows than space")
	}
	for i := range count {
		at := headerSize + i*elementSize
		element := page[at:]
		pos := uint64(binary.NativeEndian.Uint32(element[4:]))
		end := pos + uint64(binary.NativeEndian.Uint32(element[8:]))
		last := end + uint64(binary.NativeEndian.Uint32(element[12:]))
		if last > uint64(len(element)) {
			return errors.New("a row reaches beyond its page")
		}
		// A small bucket is a row of the root, and its rows are counted again.
		if im.taken += int64(last - pos); im.taken > 2*im.size {
			return errors.New("rows overlap")
		}
		if err := visit(binary.NativeEndian.Uint32(element), element[pos:end], element[end:last]); err != nil {
			return err
		}
	}
	return nil
}
