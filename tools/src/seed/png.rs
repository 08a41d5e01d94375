//! Small pictures: a symmetric pattern of two colours, as clients draw for who has no photo, in a PNG of varied size.
//!
//! ```text
//!  signature ‖ IHDR: side, 8 bits a pixel, palette ‖ PLTE: two colours ‖ IDAT: zlib, one stored block ‖ IEND
//! ```
//! Nothing is compressed: bytes of a photo are what is wanted, and a stored block needs no library.

use super::graph::below;
use hearth_core::random::SeededRandom;

/// Pixels of a side: pictures of 0.4 to 4.3 KB.
const SIDE: (u32, u32) = (16, 64);

/// Squares of the pattern in a row, the middle one among them.
const CELLS: u32 = 5;

/// What one stored block of deflate may hold (RFC 1951 §3.2.4): all of a picture.
const STORED_MAX: u32 = 0xffff;
const _: () = assert!(SIDE.1 * (SIDE.1 + 1) <= STORED_MAX);

pub(super) fn picture(random: &mut SeededRandom) -> Vec<u8> {
    let side = SIDE.0 + below(SIDE.1 - SIDE.0 + 1, random);
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut header = [side.to_be_bytes(), side.to_be_bytes()].concat();
    header.extend([8, 3, 0, 0, 0]); // bits, palette, deflate, filters, not interlaced
    chunk(&mut png, *b"IHDR", &header);
    let colours = random.next_u64().to_be_bytes();
    let [dark @ .., _, _] = colours.map(|byte| byte / 2);
    let light = dark.map(|byte| 255 - byte);
    let palette: Vec<u8> = light.into_iter().take(3).chain(dark.into_iter().skip(3)).collect();
    chunk(&mut png, *b"PLTE", &palette);
    chunk(&mut png, *b"IDAT", &stored(&pixels(side, random.next_u64())));
    chunk(&mut png, *b"IEND", &[]);
    png
}

/// Rows of colour numbers, each behind the number of its filter, none. The pattern's right half is its left one.
fn pixels(side: u32, pattern: u64) -> Vec<u8> {
    let mut rows = Vec::new();
    for y in 0..side {
        rows.push(0);
        for x in 0..side {
            let (column, row) = (x * CELLS / side, y * CELLS / side);
            let cell = row * CELLS + column.min(CELLS - 1 - column);
            rows.push((pattern >> cell & 1) as u8);
        }
    }
    rows
}

/// A zlib stream (RFC 1950) of one stored block.
fn stored(bytes: &[u8]) -> Vec<u8> {
    #[expect(clippy::cast_possible_truncation, reason = "checked above, at STORED_MAX")]
    let length = bytes.len() as u16;
    let mut zlib = vec![0x78, 0x01, 1]; // deflate, fastest; the last block, stored
    zlib.extend(length.to_le_bytes());
    zlib.extend((!length).to_le_bytes());
    zlib.extend(bytes);
    zlib.extend(adler32(bytes).to_be_bytes());
    zlib
}

fn adler32(bytes: &[u8]) -> u32 {
    let (mut a, mut b) = (1_u32, 0_u32);
    for byte in bytes {
        a = (a + u32::from(*byte)) % 65_521;
        b = (b + a) % 65_521;
    }
    b << 16 | a
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) {
    #[expect(clippy::cast_possible_truncation, reason = "checked above, at STORED_MAX")]
    png.extend((data.len() as u32).to_be_bytes());
    let from = png.len();
    png.extend(kind);
    png.extend(data);
    let sum = crc32fast::hash(png.get(from..).unwrap_or_default());
    png.extend(sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kinds and data of the chunks, their sums checked bit by bit (PNG, annex D).
    fn chunks(png: &[u8]) -> Vec<(&[u8], &[u8])> {
        let mut rest = png.strip_prefix(b"\x89PNG\r\n\x1a\n").expect("the signature");
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let (named, sum) = (&rest[4..8 + length], &rest[8 + length..12 + length]);
            let crc = named.iter().fold(!0_u32, |crc, byte| {
                (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 })
            });
            assert_eq!(sum, (!crc).to_be_bytes());
            chunks.push(named.split_at(4));
            rest = &rest[12 + length..];
        }
        chunks
    }

    #[test]
    fn a_picture_is_a_png() {
        let mut sizes = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let png = picture(&mut SeededRandom::new(seed));
            assert_eq!(png, picture(&mut SeededRandom::new(seed)));
            sizes.insert(png.len());
            let chunks = chunks(&png);
            let kinds: Vec<&[u8]> = chunks.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, [b"IHDR", b"PLTE", b"IDAT", b"IEND"]);
            let side = u32::from_be_bytes(chunks[0].1[..4].try_into().unwrap());
            assert_eq!((&chunks[0].1[4..8], &chunks[0].1[8..]), (&side.to_be_bytes()[..], &[8, 3, 0, 0, 0][..]));
            assert_eq!(chunks[1].1.len(), 2 * 3);
            let (head, pixels) = chunks[2].1.split_at(7);
            let length = side * (side + 1);
            assert_eq!(head[..3], [0x78, 1, 1]);
            assert_eq!((u16::from_be_bytes([head[0], head[1]]) % 31, head[1] & 0x20), (0, 0), "RFC 1950 §2.2");
            assert_eq!(u32::from(u16::from_le_bytes([head[3], head[4]])), length);
            assert_eq!(u32::from(!u16::from_le_bytes([head[5], head[6]])), length);
            assert_eq!(pixels.len(), length as usize + 4);
            let rows = pixels[..length as usize].chunks(side as usize + 1);
            let (mut a, mut seen) = (1, [0, 0]);
            for row in rows {
                assert_eq!(row[0], 0);
                row[1..].iter().for_each(|colour| seen[usize::from(*colour)] += 1);
                a += row.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            }
            assert_eq!(pixels[pixels.len() - 2..], a.to_be_bytes()[2..]);
            assert!(seen.iter().all(|count| *count > 0), "{seed}: {seen:?}");
        }
        assert!(sizes.len() > 30 && *sizes.first().unwrap() < 500 && *sizes.last().unwrap() > 4_000, "{sizes:?}");
    }

    #[test]
    fn adler() {
        assert_eq!(adler32(b"Wikipedia"), 0x11e6_0398);
    }
}
