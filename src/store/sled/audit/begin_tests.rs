//! What verification says of the note of where the journal begins.

use super::tests::{OnDisk, segments, shortened, stopped};
use super::*;

fn note(engine: &OnDisk) -> PathBuf {
    engine.dir().join("journal/journal.begin")
}

/// The note of another store, whose journal begins with a commit of its own.
fn says(engine: &OnDisk, commit: u64) {
    let mut bytes = [b"TGBEGIN\n".as_slice(), &commit.to_le_bytes()].concat();
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    std::fs::write(note(engine), bytes).unwrap();
}

fn number(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// The only thing that is wrong.
fn only(report: &VerifyReport) -> &Finding {
    let [finding] = report.findings.as_slice() else { panic!("{report:#?}") };
    assert_eq!((finding.part.as_str(), report.clean), ("journal", false));
    assert!(!finding.meaning.is_empty() && !finding.remedy.is_empty(), "{finding:#?}");
    finding
}

#[test]
fn one_that_is_missing_is_a_finding_where_it_hides_something_and_a_note_where_it_cannot() {
    let whole = stopped(true);
    std::fs::remove_file(note(&whole)).unwrap();
    let report = whole.verify().unwrap();
    assert!(report.clean, "{report:#?}");
    assert!(report.notes.iter().any(|note| note.starts_with("journal.begin is missing")), "{report:#?}");

    let short = shortened();
    assert!(short.verify().unwrap().clean);
    std::fs::remove_file(note(&short)).unwrap();
    let report = short.verify().unwrap();
    let finding = only(&report);
    assert!(finding.problem.contains("it is missing"), "{finding:#?}");
    assert!(finding.meaning.contains("whether old journal files were lost cannot be told"), "{finding:#?}");
}

#[test]
fn every_flipped_bit_and_every_cut_of_it_is_told() {
    let engine = stopped(true);
    let sound = std::fs::read(note(&engine)).unwrap();
    let mut spoilt: Vec<Vec<u8>> = (0..sound.len()).step_by(3).map(|len| sound[..len].to_vec()).collect();
    spoilt.extend((0..sound.len() * 8).step_by(7).map(|bit| {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    }));
    for bytes in spoilt {
        std::fs::write(note(&engine), &bytes).unwrap();

        let report = engine.verify().unwrap();

        assert!(only(&report).meaning.contains("no event is lost by this"), "{bytes:?}: {report:#?}");
    }
}

#[test]
fn commits_that_it_says_are_there_and_are_in_no_file_are_told_with_their_events() {
    let engine = stopped(true);
    let files = segments(&engine.dir());
    std::fs::remove_file(&files[0]).unwrap();

    let report = engine.verify().unwrap();

    let finding = only(&report);
    let told = format!("commits 1 to {} are in no file", number(&files[1]) - 1);
    assert!(finding.problem.contains(&told), "{told}: {finding:#?}");
    assert_eq!(finding.events[0].id, "e1");
    assert!(
        finding.events_total > 5 && finding.meaning.contains("cannot be delivered or replayed"),
        "{finding:#?}"
    );
}

#[test]
fn a_journal_without_files_is_told() {
    let engine = stopped(true);
    for file in segments(&engine.dir()).iter().filter(|file| **file != note(&engine)) {
        std::fs::remove_file(file).unwrap();
    }

    let report = engine.verify().unwrap();

    let found = report.findings.iter().any(|one| one.problem.contains("no journal file is here"));
    assert!(found && !report.clean, "{report:#?}");
}

#[test]
fn one_that_does_not_belong_to_the_files_is_told() {
    let engine = stopped(true);
    for commit in [number(&segments(&engine.dir())[1]) + 1, 1_000_000] {
        says(&engine, commit);

        let report = engine.verify().unwrap();

        assert!(only(&report).meaning.contains("do not belong together"), "{report:#?}");
    }
}

#[test]
fn one_that_was_moved_on_before_its_file_went_is_sound() {
    let engine = stopped(true);
    says(&engine, number(&segments(&engine.dir())[1]));

    let report = engine.verify().unwrap();

    assert!(report.clean, "{report:#?}");
}
