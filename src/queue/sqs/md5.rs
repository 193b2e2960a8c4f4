//! MD5 (RFC 1321) of several texts side by side, since SQS sends the
//! digest of each body, and up to ten bodies at once. Pure functions.
//!
//! Each step of MD5 waits for the one before, so a single text leaves most of a processor idle, and the digest of a
//! 20 kB body would cost more than everything else that is done to it. Texts of about the same length are processed
//! in lanes, which the compiler turns into vector instructions; what exceeds the shortest of them is processed
//! alone. The digests guard against faults of transport, not against attackers, which is what SQS has them for.

/// An MD5 digest.
pub type Digest = [u8; 16];

/// The number of texts processed side by side.
const LANES: usize = 4;
const BLOCK: usize = 64;

/// One word of each text's state.
type Words<const N: usize> = [u32; N];
/// The four words of the state, for all texts.
type State<const N: usize> = [Words<N>; 4];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

/// Returns the digests of the texts, in their order.
pub fn digests(texts: &[&[u8]]) -> Vec<Digest> {
    // Texts of similar length end close to each other.
    let mut by_length: Vec<(usize, &[u8])> = texts.iter().copied().enumerate().collect();
    by_length.sort_unstable_by_key(|(_, text)| text.len());
    let mut digests = vec![Digest::default(); texts.len()];
    let mut keep = |group: &[(usize, &[u8])], ended: &[Digest]| {
        for ((at, _), ended) in group.iter().zip(ended) {
            if let Some(digest) = digests.get_mut(*at) {
                *digest = *ended;
            }
        }
    };
    let (groups, rest) = by_length.as_chunks::<LANES>();
    for group in groups {
        keep(group, &together(&group.map(|(_, text)| text)));
    }
    let (pairs, rest) = rest.as_chunks::<2>();
    for pair in pairs {
        keep(pair, &together(&pair.map(|(_, text)| text)));
    }
    for one in rest {
        keep(&[*one], &together(&[one.1]));
    }
    digests
}

/// Reads a digest in hexadecimal digits, as SQS writes it; `None` if the text is not a digest.
pub fn read(digits: &str) -> Option<Digest> {
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let mut digest = Digest::default();
    if pairs.len() != digest.len() {
        return None;
    }
    for (byte, [high, low]) in digest.iter_mut().zip(pairs) {
        let digit = |digit: &u8| char::from(*digit).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(digest)
}

fn together<const N: usize>(texts: &[&[u8]; N]) -> [Digest; N] {
    let common = texts.iter().map(|text| text.len() / BLOCK).min().unwrap_or_default();
    let mut blocks = texts.map(|text| text.as_chunks::<BLOCK>().0.iter());
    let mut state: State<N> = START.map(|word| [word; N]);
    for _ in 0..common {
        let mut message = [[0; N]; 16];
        for (lane, blocks) in blocks.iter_mut().enumerate() {
            let Some(block) = blocks.next() else { break };
            for (words, bytes) in message.iter_mut().zip(block.as_chunks::<4>().0) {
                if let Some(word) = words.get_mut(lane) {
                    *word = u32::from_le_bytes(*bytes);
                }
            }
        }
        compress(&mut state, &message);
    }
    let mut lane = 0;
    texts.map(|text| {
        let words = state.map(|words| words.get(lane).copied().unwrap_or_default());
        lane += 1;
        finish(words, text.get(common * BLOCK..).unwrap_or_default(), text.len())
    })
}

/// Processes the rest of one text of `bytes` bytes in all, and its padding: a one bit, zeros, and its length in bits.
fn finish(state: [u32; 4], rest: &[u8], bytes: usize) -> Digest {
    let mut state: State<1> = state.map(|word| [word]);
    let mut take = |block: &[u8; BLOCK]| {
        let mut message = [[0]; 16];
        for (word, bytes) in message.iter_mut().zip(block.as_chunks::<4>().0) {
            *word = [u32::from_le_bytes(*bytes)];
        }
        compress(&mut state, &message);
    };
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    blocks.iter().for_each(&mut take);
    let bits = (bytes as u64).wrapping_mul(8).to_le_bytes();
    let zeros = (2 * BLOCK - bits.len() - 1 - tail.len()) % BLOCK;
    let end = tail.iter().copied().chain([0x80]).chain(std::iter::repeat_n(0, zeros)).chain(bits);
    let mut last = [0; 2 * BLOCK];
    let mut length = 0;
    for (to, byte) in last.iter_mut().zip(end) {
        *to = byte;
        length += 1;
    }
    last.as_chunks::<BLOCK>().0.iter().take(length / BLOCK).for_each(take);
    let mut digest = Digest::default();
    for (to, [word]) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *to = word.to_le_bytes();
    }
    digest
}

/// One step of RFC 1321: `a = b + ((a + f(b, c, d) + word + constant) <<< by)`.
#[inline(always)]
fn step<const N: usize>(
    a: &mut Words<N>,
    [b, c, d]: [&Words<N>; 3],
    word: &Words<N>,
    by: u32,
    constant: u32,
    f: impl Fn(u32, u32, u32) -> u32,
) {
    for ((((a, b), c), d), word) in a.iter_mut().zip(b).zip(c).zip(d).zip(word) {
        let sum = a.wrapping_add(f(*b, *c, *d)).wrapping_add(*word).wrapping_add(constant);
        *a = sum.rotate_left(by).wrapping_add(*b);
    }
}

/// Four steps: the words of the message that they use, and their constants.
macro_rules! steps {
    ($state:ident, $message:ident, $f:expr, $by:expr, $([$($word:literal $constant:literal)*])*) => {
        let [a, b, c, d] = &mut $state;
        $(steps!(@four a b c d, $message, $f, $by, $($word $constant)*);)*
    };
    (@four $a:ident $b:ident $c:ident $d:ident, $message:ident, $f:expr, $by:expr,
        $w0:literal $k0:literal $w1:literal $k1:literal $w2:literal $k2:literal $w3:literal $k3:literal) => {
        step($a, [$b, $c, $d], &$message[$w0], $by[0], $k0, $f);
        step($d, [$a, $b, $c], &$message[$w1], $by[1], $k1, $f);
        step($c, [$d, $a, $b], &$message[$w2], $by[2], $k2, $f);
        step($b, [$c, $d, $a], &$message[$w3], $by[3], $k3, $f);
    };
}

/// Processes one block of each text.
#[inline(always)]
fn compress<const N: usize>(state: &mut State<N>, message: &[Words<N>; 16]) {
    let mut now = *state;
    steps!(now, message, |b, c, d| d ^ (b & (c ^ d)), [7, 12, 17, 22],
        [0 0xd76a_a478 1 0xe8c7_b756 2 0x2420_70db 3 0xc1bd_ceee]
        [4 0xf57c_0faf 5 0x4787_c62a 6 0xa830_4613 7 0xfd46_9501]
        [8 0x6980_98d8 9 0x8b44_f7af 10 0xffff_5bb1 11 0x895c_d7be]
        [12 0x6b90_1122 13 0xfd98_7193 14 0xa679_438e 15 0x49b4_0821]);
    steps!(now, message, |b, c, d| c ^ (d & (b ^ c)), [5, 9, 14, 20],
        [1 0xf61e_2562 6 0xc040_b340 11 0x265e_5a51 0 0xe9b6_c7aa]
        [5 0xd62f_105d 10 0x0244_1453 15 0xd8a1_e681 4 0xe7d3_fbc8]
        [9 0x21e1_cde6 14 0xc337_07d6 3 0xf4d5_0d87 8 0x455a_14ed]
        [13 0xa9e3_e905 2 0xfcef_a3f8 7 0x676f_02d9 12 0x8d2a_4c8a]);
    steps!(now, message, |b, c, d| b ^ c ^ d, [4, 11, 16, 23],
        [5 0xfffa_3942 8 0x8771_f681 11 0x6d9d_6122 14 0xfde5_380c]
        [1 0xa4be_ea44 4 0x4bde_cfa9 7 0xf6bb_4b60 10 0xbebf_bc70]
        [13 0x289b_7ec6 0 0xeaa1_27fa 3 0xd4ef_3085 6 0x0488_1d05]
        [9 0xd9d4_d039 12 0xe6db_99e5 15 0x1fa2_7cf8 2 0xc4ac_5665]);
    steps!(now, message, |b, c, d| c ^ (b | !d), [6, 10, 15, 21],
        [0 0xf429_2244 7 0x432a_ff97 14 0xab94_23a7 5 0xfc93_a039]
        [12 0x655b_59c3 3 0x8f0c_cc92 10 0xffef_f47d 1 0x8584_5dd1]
        [8 0x6fa8_7e4f 15 0xfe2c_e6e0 6 0xa301_4314 13 0x4e08_11a1]
        [4 0xf753_7e82 11 0xbd3a_f235 2 0x2ad7_d2bb 9 0xeb86_d391]);
    for (state, now) in state.as_flattened_mut().iter_mut().zip(now.as_flattened()) {
        *state = state.wrapping_add(*now);
    }
}

#[cfg(test)]
mod tests {
    use ::md5::{Digest as _, Md5};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_have_their_digests() {
        for (text, digits) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ] {
            assert_eq!(Some(digests(&[text.as_bytes()])[0]), read(digits), "{text}");
        }
    }

    #[test]
    fn a_digest_is_32_hexadecimal_digits_in_either_case() {
        let digits = "900150983CD24fb0d6963f7d28e17f72";
        assert_eq!(read(digits), Some(digests(&[b"abc"])[0]));
        for wrong in
            ["", &digits[1..], &digits[2..], &format!("{digits}00"), &digits.replace('9', "x"), &digits.replace("9", "+")]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn texts_of_any_number_and_length_have_the_digests_of_the_crate(
            lengths in prop::collection::vec(prop_oneof![0..200_usize, 0..3_000_usize], 0..14),
            seed: u64,
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let texts: Vec<Vec<u8>> = lengths.iter().map(|length| (0..*length).map(|_| random.u8(..)).collect()).collect();
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let want: Vec<Digest> = texts.iter().map(|text| Md5::digest(text).into()).collect();
            prop_assert_eq!(digests(&texts), want);
        }
    }
}
