package boltstore

import (
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"
)

// digest is the sum of the digests of all rows but those of meta. It tells whether rows belong to the same state: each of
// them may be sound, and yet some older than others.
func (c content) digest() (sum uint64) {
	for bucket, rows := range c {
		for key, row := range rows {
			sum += edit{bucket, key, row}.digest()
		}
	}
	return sum
}

// digest is what a row adds to the digest of the content, 0 if there is none.
func (e edit) digest() uint64 {
	if e.row == nil || e.bucket == bucketMeta {
		return 0
	}
	if digest, ok := stub(e.row); ok {
		return digest
	}
	h := fnv.New64a()
	for _, part := range [][]byte{[]byte(e.bucket), {0}, []byte(e.key), {0}, e.row} {
		_, _ = h.Write(part) // a hash never fails
	}
	return h.Sum64()
}

// difference is by how much the edits change the digest. undo is what apply returned for them.
func difference(edits, undo []edit) (sum uint64) {
	for _, e := range edits {
		sum += e.digest()
	}
	for _, e := range undo {
		sum -= e.digest()
	}
	return sum
}

func digestText(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// transactionRow is what each transaction leaves of itself. A page that the disk has not written yet still holds what
// another one, which is forgotten, has left there. That could be a whole state too.
func transactionRow(number uint64) []byte { return strconv.AppendUint(nil, number, 10) }

// whole tells whether this is the state that a transaction has left, with nothing missing and nothing older in it. Files of
// the first versions of portreeve do not tell.
func (c content) whole(transaction uint64) bool {
	var m metaRow
	return string(c[bucketMeta][transactionKey]) == string(transactionRow(transaction)) &&
		open(bucketMeta, metaKey, c[bucketMeta][metaKey], &m) == nil && m.Digest == digestText(c.digest())
}

// mixed tells of a state that is not whole that nevertheless each row is as it was written and none is missing: some are
// older than others.
func (c content) mixed() bool {
	m, err := decodeMeta(c)
	if err != nil || m.Digest == "" || !maps.Equal(m.Counts, c.counts()) {
		return false
	}
	for bucket, rows := range c {
		for key, row := range rows {
			if key != transactionKey && !intact(bucket, key, row) {
				return false
			}
		}
	}
	return true
}
