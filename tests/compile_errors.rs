//! A newcomer's mistakes meet a compiler message that says what to write.

#[test]
fn mistakes_of_a_step_author_are_explained_by_the_compiler() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
