package protocol

// maxSkipped is how deep an item may be nested that Skip skips: a number or a
// string is 0, an array of them 1. A tag counts only inside another.
const maxSkipped = 16

const (
	indefinite = 31   // additional information: a length that is not known at first
	simpleStop = 0xff // ends what has no length
)

// Skip skips an item of any well-formed CBOR (RFC 8949), nested at most 16 deep:
// what a later version may have written. It allocates nothing.
func (r *Reader) Skip() { r.skip(maxSkipped) }

// skipItems skips n items; a negative number is none.
func (r *Reader) skipItems(n int) {
	for ; n > 0 && r.err == nil; n-- {
		r.skip(maxSkipped)
	}
}

func (r *Reader) skip(depth int) {
	major, info, n := r.anyHead()
	switch {
	case r.err != nil:
	case major == majorBytes, major == majorText:
		if info != indefinite {
			r.skipBytes(n)
			return
		}
		for !r.stop() { // of strings of the same type, whose length is known
			part, info, n := r.anyHead()
			if part != major || info == indefinite {
				r.fail()
				return
			}
			r.skipBytes(n)
		}
	case major == majorArray, major == majorMap:
		r.skipInside(major == majorMap, info, n, depth-1)
	case info == indefinite:
		r.fail()
	case major == majorTag:
		if len(r.b) > 0 && r.b[0]&0xe0 == majorTag {
			depth--
		}
		if depth < 0 {
			r.fail()
			return
		}
		r.skip(depth)
	case major == majorSimple && info == 24 && n < 32: // has a form in one byte
		r.fail()
	}
}

// skipInside skips n items, or pairs of them.
func (r *Reader) skipInside(pairs bool, info byte, n uint64, depth int) {
	if depth < 0 {
		r.fail()
		return
	}
	if info == indefinite {
		for !r.stop() {
			if r.skip(depth); pairs {
				r.skip(depth)
			}
		}
		return
	}
	if n > uint64(len(r.b)) { // an item takes at least one byte
		r.fail()
		return
	}
	if pairs {
		n *= 2
	}
	for ; n > 0 && r.err == nil; n-- {
		r.skip(depth)
	}
}

// stop reads the end of what has no length, if it is there; an error is an end,
// too.
func (r *Reader) stop() bool {
	if r.err == nil && len(r.b) > 0 && r.b[0] == simpleStop {
		r.b = r.b[1:]
		return true
	}
	return r.err != nil
}

func (r *Reader) skipBytes(n uint64) {
	if n > uint64(len(r.b)) {
		r.fail()
		return
	}
	r.b = r.b[n:]
}

// anyHead reads an item's head, not necessarily in its shortest form. With info
// indefinite n counts nothing.
func (r *Reader) anyHead() (major, info byte, n uint64) {
	if len(r.b) == 0 {
		r.fail()
		return 0, 0, 0
	}
	major, info = r.b[0]&0xe0, r.b[0]&0x1f
	r.b = r.b[1:]
	switch {
	case info < 24:
		return major, info, uint64(info)
	case info == indefinite:
		return major, info, 0
	case info > 27 || len(r.b) < 1<<(info-24):
		r.fail()
		return 0, 0, 0
	}
	size := 1 << (info - 24)
	for _, c := range r.b[:size] {
		n = n<<8 | uint64(c)
	}
	r.b = r.b[size:]
	return major, info, n
}
