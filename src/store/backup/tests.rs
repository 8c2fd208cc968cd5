//! What a backup's file promises: what was written comes back, and nothing else passes for it.

use super::*;
use crate::store::StoreError;

fn about() -> About {
    About { entries: 2, tidegate: "0.1.0".to_owned() }
}

fn written() -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = BackupWriter::begin(&mut out, &about()).unwrap();
    writer.row(b"a", Some(b"1")).unwrap();
    writer.row(b"b", Some(b"")).unwrap();
    writer.fold(7).unwrap();
    writer.row(b"a", None).unwrap();
    writer.segment(1).unwrap();
    writer.bytes(b"journal").unwrap();
    let manifest = writer.finish(Manifest { commit: 9, folded: 7, ..Manifest::default() }).unwrap();
    assert_eq!(manifest.parts.len(), 3);
    out
}

/// Everything in a backup, in short; its error when it is none.
fn read(bytes: &[u8]) -> Result<Vec<String>, StoreError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let (mut reader, _) = BackupReader::open(file.path())?;
    let mut told = Vec::new();
    loop {
        let piece = reader.next()?;
        told.push(match &piece {
            Piece::Rows(rows) => format!("{rows:?}"),
            Piece::Fold => "fold".to_owned(),
            Piece::Segment(first) => format!("segment {first}"),
            Piece::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Piece::End(manifest) => format!("commit {}", manifest.commit),
        });
        if matches!(piece, Piece::End(_)) {
            return Ok(told);
        }
    }
}

#[test]
fn what_was_written_comes_back_in_order() {
    assert_eq!(
        read(&written()).unwrap(),
        [
            "[([97], Some([49])), ([98], Some([]))]",
            "fold",
            "[([97], None)]",
            "segment 1",
            "7 bytes",
            "commit 9"
        ]
    );
}

#[test]
fn a_backup_that_is_cut_short_anywhere_is_none() {
    let whole = written();
    for len in 0..whole.len() {
        assert!(matches!(read(&whole[..len]), Err(StoreError::Damaged { .. })), "cut at {len}");
    }
    assert!(matches!(read(&[whole.as_slice(), &[0]].concat()), Err(StoreError::Damaged { .. })));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let whole = written();
    for at in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[at / 8] ^= 1 << (at % 8);
        let error = read(&bytes).expect_err(&format!("bit {at} was passed over"));
        assert!(matches!(error, StoreError::Damaged { .. } | StoreError::Newer { .. }), "{error}");
    }
}

#[test]
fn frames_that_have_changed_places_are_noticed() {
    let mut out = Vec::new();
    let mut writer = BackupWriter::begin(&mut out, &about()).unwrap();
    writer.segment(1).unwrap();
    writer.bytes(b"one!").unwrap();
    writer.bytes(b"two!").unwrap();
    writer.finish(Manifest::default()).unwrap();
    let at = |text: &[u8]| out.windows(4).position(|window| window == text).unwrap() - HEAD_BYTES;
    let (one, two) = (at(b"one!"), at(b"two!"));
    let mut swapped = out.clone();
    swapped[one..one + 13].copy_from_slice(&out[two..two + 13]);
    swapped[two..two + 13].copy_from_slice(&out[one..one + 13]);

    assert!(matches!(read(&swapped), Err(StoreError::Damaged { .. })));
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let mut bytes = written();
    bytes[8] = 9;

    let error = read(&bytes).unwrap_err();

    assert!(matches!(error, StoreError::Newer { found: 9, supported: FORMAT, .. }));
}

/// The frames of a backup: what kind each is of, and what it holds.
fn frames(backup: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let (mut found, mut rest) = (Vec::new(), &backup[MAGIC.len() + 4..]);
    while let Some((kind, after)) = rest.split_first() {
        let len = u32::from_le_bytes(*after.first_chunk().unwrap()) as usize;
        let (payload, after) = after[HEAD_BYTES - 1..].split_at(len);
        found.push((*kind, payload.to_vec()));
        rest = after;
    }
    found
}

/// A backup of these frames, with the checksums and the end that belong to them.
fn sealed(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = written()[..MAGIC.len() + 4].to_vec();
    for (number, (kind, payload)) in (0_u64..).zip(frames) {
        let payload = if *kind == END { number.to_le_bytes().to_vec() } else { payload.clone() };
        frame(&mut out, number, *kind, &payload);
    }
    out
}

/// Adds a frame with the checksum that belongs to it.
fn frame(out: &mut Vec<u8>, number: u64, kind: u8, payload: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&check(number, kind, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

#[test]
fn parts_that_are_not_those_of_the_manifest_are_noticed_though_every_frame_is_sound() {
    let whole = frames(&written());
    assert_eq!(sealed(&whole), written());
    let segment = whole.iter().position(|(kind, _)| *kind == SEGMENT).unwrap();
    let (mut other, mut less, mut more) = (whole.clone(), whole.clone(), whole);
    other[segment + 1].1 = b"JOURNAL".to_vec();
    less.drain(segment..segment + 2);
    more.insert(segment + 2, (SEGMENT, 2_u64.to_le_bytes().to_vec()));

    for (frames, problem) in [
        (other, "is not what the manifest says"),
        (less, "the manifest says 3 parts, 2 are there"),
        (more, "the manifest says 3 parts, 4 are there"),
    ] {
        let told = read(&sealed(&frames)).unwrap_err().to_string();
        assert!(told.contains(problem), "{told}");
    }
}

#[test]
fn an_end_of_another_kind_or_of_other_frames_is_noticed_though_it_is_sound() {
    let mut whole = frames(&written());
    let (_, count) = whole.pop().unwrap();
    let with_end = |kind, payload: &[u8]| {
        let mut out = sealed(&whole);
        frame(&mut out, whole.len() as u64, kind, payload);
        out
    };
    assert_eq!(with_end(END, &count), written());

    for (kind, payload) in [(BYTES, count.as_slice()), (END, &0_u64.to_le_bytes()), (END, &[])] {
        let told = read(&with_end(kind, payload)).unwrap_err().to_string();
        assert!(told.contains("the end is not where it should be"), "{told}");
    }
}
