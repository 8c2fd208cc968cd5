//! Large groups are packed, and nothing else is different.

use proptest::prelude::*;
use tempfile::TempDir;

use super::super::*;
use super::*;
use crate::store::journal::record::{HEAD_BYTES, Head, Key};
use crate::store::journal::segment::{HEADER_BYTES, Header, path_of};

const SEGMENT: u64 = 1 << 20;

/// An entry as events are: most of it stands in its neighbours too.
fn alike(number: u64, len: usize) -> Bytes {
    let mut text = format!("order.placed {number:08} {:016x} ", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    text.push_str(&"customer and amount and currency ".repeat(len / 32));
    Bytes::from(text)
}

fn group(first: u64, count: u64) -> Vec<Bytes> {
    (first..first + count).map(|number| alike(number, 200)).collect()
}

fn bytes_of(entries: &[Bytes]) -> u64 {
    entries.iter().map(|entry| entry.len() as u64).sum()
}

/// Appends and syncs a group; tells where its entries are and how many bytes of the disk it takes.
fn put(journal: &mut Journal, entries: &[Bytes]) -> (Vec<Location>, u64) {
    let before = journal.active.end;
    let (_, places) = journal.append(entries).unwrap();
    journal.sync().unwrap();
    (places, journal.active.end - before)
}

fn is_packed(places: &[Location]) -> bool {
    places.iter().all(|place| place.inner > 0)
}

#[test]
fn a_large_group_takes_a_part_of_its_bytes_and_is_read_as_it_was() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), SEGMENT).unwrap();
    let (small, large) = (group(0, 3), group(100, 900));

    let (some, _) = put(&mut journal, &small);
    let (many, taken) = put(&mut journal, &large);

    assert!(is_packed(&many) && !is_packed(&some));
    assert!(taken * 3 < bytes_of(&large), "{taken} bytes of {}", bytes_of(&large));
    let mut chunks: Vec<u64> = many.iter().map(|place| place.offset).collect();
    chunks.dedup();
    assert!(chunks.len() > 3, "what one of them is read with is bounded: {} chunks", chunks.len());
    let reader = journal.reader();
    let all: Vec<(Location, &Bytes)> =
        some.iter().chain(&many).copied().zip(small.iter().chain(&large)).collect();
    for (place, entry) in all.iter().step_by(37) {
        assert_eq!(&reader.read(place).unwrap(), *entry);
    }
    // In whatever order.
    let (asked, wanted): (Vec<Location>, Vec<&Bytes>) = all.iter().rev().copied().unzip();
    assert_eq!(reader.read_many(&asked).unwrap().iter().collect::<Vec<_>>(), wanted);
    drop(journal);

    let (journal, seen) = open(dir.path(), SEGMENT).unwrap();
    let entries = |group: &[Bytes]| group.iter().map(|entry| entry.to_vec()).collect::<Vec<_>>();
    assert_eq!(seen, vec![(1, entries(&small)), (2, entries(&large))]);
    let mut found = Vec::new();
    let mut note = |record: Record<'_>| {
        found.extend(record.entries.iter().map(|(place, _)| *place));
        Ok(())
    };
    journal.scan(Commit(1), &mut note).unwrap();
    assert_eq!(found, [some, many].concat(), "a replay finds them where they were put");
}

#[test]
fn what_has_nothing_in_common_stays_as_it_is() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), SEGMENT).unwrap();
    let digest = |number: u64, part: u64| blake3::hash(&[number.to_le_bytes(), part.to_le_bytes()].concat());
    let drawn = |number| {
        Bytes::from((0..8).map(|part| *digest(number, part).as_bytes()).collect::<Vec<_>>().concat())
    };
    let strange: Vec<Bytes> = (0..600).map(drawn).collect();

    let (places, _) = put(&mut journal, &strange);

    assert!(places.iter().all(|place| place.inner == 0));
    assert_eq!(journal.reader().read_many(&places).unwrap(), strange);
}

#[test]
fn a_segment_of_format_1_goes_on_in_that_and_the_next_one_is_packed() {
    let dir = TempDir::new().unwrap();
    let (journal, _) = open(dir.path(), 64 << 10).unwrap();
    let header = Header { format: 1, ..journal.active.header };
    drop(journal);
    overwrite(&path_of(dir.path(), 1), 0, &header.encode());
    let (mut journal, _) = open(dir.path(), 64 << 10).unwrap();

    let (old, _) = put(&mut journal, &group(0, 150));
    assert_eq!(journal.segments().len(), 1);
    let (rolled, _) = put(&mut journal, &group(200, 150));
    let (new, _) = put(&mut journal, &group(400, 150));

    assert_eq!(journal.segments().len(), 2);
    assert!(!is_packed(&old) && !is_packed(&rolled) && is_packed(&new));
    let all = [old, rolled, new].concat();
    let wanted = [group(0, 150), group(200, 150), group(400, 150)].concat();
    assert_eq!(journal.reader().read_many(&all).unwrap(), wanted);
    drop(journal);
    assert_eq!(open(dir.path(), 64 << 10).unwrap().1.len(), 3);
}

/// What is told of a packed record that was cut or changed, at each of its bytes.
#[test]
fn a_packed_record_that_is_torn_is_cut_and_a_flipped_bit_in_it_is_told() {
    // Small, since it is opened some thousand times.
    const SEGMENT: u64 = 8 << 10;
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), SEGMENT).unwrap();
    put(&mut journal, &group(0, 2));
    let start = journal.active.end;
    let (places, taken) = put(&mut journal, &group(10, 30));
    let end = start + taken;
    assert!(is_packed(&places));
    let whole = std::fs::read(path_of(dir.path(), 1)).unwrap();
    drop(journal);
    let path = path_of(dir.path(), 1);
    for at in start..end {
        let index = usize::try_from(at).unwrap();
        overwrite(&path, at, &vec![0; usize::try_from(end - at).unwrap()]);
        let reader = JournalReader::of(dir.path().to_owned());
        if at < end - 40 {
            assert!(is_damaged(&reader.read(&places[29])), "torn at {at}");
        }
        let (journal, seen) = open(dir.path(), SEGMENT).unwrap();
        assert_eq!((seen.len(), journal.cut_tail().is_some()), (1, at > start), "torn at {at}");
        drop(journal);

        std::fs::write(&path, &whole).unwrap();
        // Sealed, so that damage cannot pass for a write that was never synced.
        open(dir.path(), SEGMENT).unwrap().0.close().unwrap();
        overwrite(&path, at, &[whole[index] ^ (1 << (at % 8))]);
        // The check of the record and the fill behind the chunk are 36 bytes at most.
        if (places[0].offset..end - 36).contains(&at) {
            let reader = JournalReader::of(dir.path().to_owned());
            assert!(is_damaged(&reader.read(&places[index % places.len()])), "flipped at {at}, read alone");
        }
        assert!(is_damaged(&open(dir.path(), SEGMENT)), "flipped at {at}");
        std::fs::write(&path, &whole).unwrap();
    }
}

#[test]
fn a_place_that_was_never_told_is_damage_and_no_panic() {
    let dir = TempDir::new().unwrap();
    let (mut journal, _) = open(dir.path(), SEGMENT).unwrap();
    let (places, _) = put(&mut journal, &group(0, 60));
    let (reader, at) = (journal.reader(), places[7]);
    assert!(is_packed(&places));

    for odd in [
        Location { inner: at.inner + 1, ..at },
        Location { inner: u32::MAX, ..at },
        Location { len: at.len + 1, ..at },
        Location { offset: at.offset + 32, ..at },
        Location { offset: HEADER_BYTES, ..at },
        Location { offset: (1 << 40) - 1, ..at },
        Location { inner: 0, ..at },
    ] {
        assert!(is_damaged(&reader.read(&odd)), "{odd:?}");
        assert!(is_damaged(&reader.read_many(&[at, odd])), "{odd:?}");
    }
}

#[test]
fn the_bytes_of_a_place_never_change() {
    let plain = Location { segment: 7, offset: 300, inner: 0, len: 5 };
    let packed = Location { segment: 7, offset: 300, inner: 3, len: 5 };

    // A place that is not packed is written as it was before any was.
    assert_eq!(postcard::to_stdvec(&plain).unwrap(), postcard::to_stdvec(&(7_u64, 300_u64, 5_u32)).unwrap());
    let written = postcard::to_stdvec(&packed).unwrap();
    assert_eq!(written, postcard::to_stdvec(&(7_u64, 300 + (3_u64 << 40), 5_u32)).unwrap());
    assert_eq!(postcard::from_bytes::<Location>(&written).unwrap(), packed);
}

#[test]
fn the_bytes_of_a_packed_record_never_change() {
    // Segment 9 with the seed 5, at its byte 64: commit 7, behind a synced 6, with the entries "abc" and "d".
    let entries = b"\x03\0\0\0abc\x01\0\0\0d";
    let record = [
        &b"TGcp"[..],
        &25_u32.to_le_bytes(),
        &7_u64.to_le_bytes(),
        &6_u64.to_le_bytes(),
        &2_u32.to_le_bytes(),
        &0x6387_dc75_u32.to_le_bytes(),
        // The chunk: packed length, length, check; then lz4 that says "12 bytes as they are".
        &13_u32.to_le_bytes(),
        &12_u32.to_le_bytes(),
        &0xa31f_2b1d_u32.to_le_bytes(),
        &[12 << 4],
        entries,
        &0x76ea_9db0_u32.to_le_bytes(),
        &[0xA5; 3],
    ]
    .concat();
    let key = Key { first: 9, seed: 5 };

    let head = Head::parse(&record[..HEAD_BYTES], key, 64).unwrap();

    assert_eq!((head.commit, head.synced, head.total()), (Commit(7), Commit(6), 64));
    let place = |inner, len| Location { segment: 9, offset: 96, inner, len };
    let wanted = vec![(place(1, 3), &b"abc"[..]), (place(8, 1), &b"d"[..])];
    assert_eq!(head.entries(&record, key, 64, &mut Vec::new()), Some(wanted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Groups of any shape: few and many, short ones, empty ones, and some that are longer than a chunk.
    #[test]
    fn groups_of_any_shape_are_read_as_they_were(
        groups in prop::collection::vec(
            prop::collection::vec((any::<u8>(), prop_oneof![4 => 0..600_usize, 1 => 0..90_000_usize]), 0..80),
            1..4,
        ),
    ) {
        let dir = TempDir::new().unwrap();
        let (mut journal, _) = open(dir.path(), SEGMENT).unwrap();
        let mut kept = Vec::new();
        for (number, shape) in groups.iter().enumerate() {
            let entries: Vec<Bytes> = shape.iter().map(|(word, len)| Bytes::from(vec![*word; *len])).collect();
            let (places, _) = put(&mut journal, &entries);
            prop_assert_eq!(&journal.reader().read_many(&places).unwrap(), &entries);
            kept.push((number as u64 + 1, entries.iter().map(|entry| entry.to_vec()).collect::<Vec<_>>()));
        }
        drop(journal);
        prop_assert_eq!(open(dir.path(), SEGMENT).unwrap().1, kept);
    }
}
