//! What a command that is built without Parquet files says of one.
#![cfg(not(feature = "parquet"))]

mod support;

use support::Folder;

#[test]
fn parquet_files_are_refused_with_what_to_do() {
    let folder = Folder::new();
    folder.write("x.parquet", "PAR1");
    let hint = "\n  hint: build it with them, `cargo build --release --features parquet`, or name a file with another \
         ending\n";
    let refusal = |name: &str| format!("error: {name}: this build of servingsim knows no Parquet files{hint}");
    let check = |args: &[&str], names: &[&str]| {
        let said = folder.run(args);
        let expected: String = names.iter().map(|name| refusal(name)).collect();
        assert_eq!((said.code, said.stdout.as_str(), said.stderr), (Some(2), "", expected), "{args:?}");
    };
    check(&["run", "--output", "new.parquet"], &["new.parquet"]);
    check(&["run", "--interval-output", "new.Parquet"], &["new.Parquet"]);
    check(&["compare", "x.parquet", "y.parquet"], &["x.parquet", "y.parquet"]);
    folder.run(&["examples", "--write", "."]);
    check(&["run", "--cluster-config", "dense.cluster.json", "--dataset", "x.parquet"], &["x.parquet"]);
    assert!(!folder.path("new.parquet").exists());
}
