//! The CSV to the byte, and how its file comes to be.

use std::fs;
use std::io::{self, Write};

use engine::{FinishedRequest, Observer};
use metrics::{InstanceLayout, Layout};
use report::{AtomicFile, CsvWriter};
use units::{Duration, InstanceId, Instant, RequestId};

const HEADER: &str =
    "instance id,request id,model,input,output,arrival,end_time,latency,queuing_delay,TTFT,TPOT,ITL\r\n";

fn layout(models: &[&str]) -> Layout {
    let instance = |model: &&str| InstanceLayout { model: (*model).to_owned(), ..InstanceLayout::default() };
    Layout { instances: models.iter().map(instance).collect(), ..Layout::default() }
}

fn finish(csv: &mut impl Observer, instance: u32, id: u64, itl_ns: &[u64]) {
    let itl: Vec<_> = itl_ns.iter().copied().map(Duration::from_ns).collect();
    csv.request_finished(&FinishedRequest {
        instance: InstanceId(instance),
        id: RequestId(id),
        input_tokens: 10,
        output_tokens: 1 + itl.len() as u64,
        arrival: Instant::from_ns(1_000),
        end: Instant::from_ns(1_500 + itl_ns.iter().sum::<u64>()),
        queuing_delay: Duration::ZERO,
        ttft: Duration::from_ns(500),
        itl: itl.as_slice().into(),
        prefix_hit_tokens: 0,
        preemptions: 0,
        stamps: engine::Stamps::default(),
    });
}

#[test]
fn rows_are_as_python_writes_them() {
    let check = |model: &str, itl_ns: &[u64], expected: &str| {
        let mut csv = CsvWriter::new(Vec::new(), &layout(&[model]));
        finish(&mut csv, 0, 7, itl_ns);
        let bytes = csv.finish().expect("memory takes everything");
        assert_eq!(String::from_utf8_lossy(&bytes), format!("{HEADER}{expected}\r\n"));
    };
    check("a/b", &[], "0,7,a/b,10,1,1000,1500,500,0,500,0,[]");
    check("a/b", &[9], "0,7,a/b,10,2,1000,1509,509,0,500,9,[9]");
    check("a/b", &[10, 0], "0,7,a/b,10,3,1000,1510,510,0,500,5,\"[10, 0]\"");
    check("a/b", &[1, 10, 12_345_678_901], {
        "0,7,a/b,10,4,1000,12345680412,12345679412,0,500,4115226304,\"[1, 10, 12345678901]\""
    });
    check("a,b", &[], "0,7,\"a,b\",10,1,1000,1500,500,0,500,0,[]");
    check("a \"b\"", &[], "0,7,\"a \"\"b\"\"\",10,1,1000,1500,500,0,500,0,[]");
}

#[test]
fn rows_are_grouped_by_instance_in_order_of_completion() {
    let mut csv = CsvWriter::new(Vec::new(), &layout(&["a", "b", "c"]));
    for (instance, id) in [(2, 0), (0, 5), (1, 3), (0, 2), (2, 1)] {
        finish(&mut csv, instance, id, &[]);
    }
    let text = String::from_utf8(csv.finish().expect("memory takes everything")).expect("plain text");
    let ids: Vec<_> = text.lines().skip(1).map(|row| row.split(',').take(3).collect::<String>()).collect();
    assert_eq!(ids, ["05a", "02a", "13b", "20c", "21c"]);
}

#[test]
fn columns_can_be_left_out_and_added() {
    let written = |change: fn(CsvWriter<Vec<u8>>) -> CsvWriter<Vec<u8>>| {
        let mut csv = change(CsvWriter::new(Vec::new(), &layout(&["a", "b"])));
        [0, 1].into_iter().for_each(|instance| finish(&mut csv, instance, 7, &[10, 20]));
        let text = String::from_utf8(csv.finish().expect("memory takes everything")).expect("plain text");
        text.lines().map(|line| line.split(',').skip(9).collect::<Vec<_>>().join(",")).collect::<Vec<_>>()
    };
    assert_eq!(written(CsvWriter::without_itl), ["TTFT,TPOT", "500,15", "500,15"]);
    let stamps = ["TTFT,TPOT,queued,first_scheduled,first_token,first_delivered", "500,15,0,0,0,0", "500,15,0,0,0,0"];
    assert_eq!(written(|csv| csv.with_stamps().without_itl()), stamps);
}

/// Much of several instances goes through a temporary file, and comes back in order.
#[test]
fn many_rows_of_many_instances() {
    const NUM_ROWS: u64 = 600_000;
    let mut csv = CsvWriter::new(Vec::new(), &layout(&["a"; 5])).without_itl();
    (0..NUM_ROWS).for_each(|id| finish(&mut csv, (id * id % 5) as u32, id, &[1, 2]));
    let text = String::from_utf8(csv.finish().expect("memory takes everything")).expect("plain text");
    let found = text.lines().skip(1).map(|line| {
        let mut columns = line.split(',').map(|column| column.parse().unwrap_or(0));
        (columns.next().unwrap_or(0), columns.next().unwrap_or(0))
    });
    let expected = (0..5)
        .flat_map(|instance| (0..NUM_ROWS).filter(move |id| id * id % 5 == instance).map(move |id| (instance, id)));
    assert!(found.eq(expected));
}

#[test]
fn a_run_without_requests_has_a_header() {
    let bytes = CsvWriter::new(Vec::new(), &layout(&[])).finish().expect("memory takes everything");
    assert_eq!(bytes, HEADER.as_bytes());
}

/// Takes so many bytes and no more, as a full disk does.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        if taken == 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_at_the_end() {
    // Both while rows stream and when the rest is written.
    for rows in [1, 10_000] {
        let mut csv = CsvWriter::new(Full(100), &layout(&["a"]));
        (0..rows).for_each(|id| finish(&mut csv, 0, id, &[1, 2, 3]));
        assert_eq!(csv.finish().err().map(|error| error.kind()), Some(io::ErrorKind::StorageFull));
    }
}

#[test]
fn a_file_replaces_another_when_it_is_whole() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("new/folder/out.csv");
    let files = || fs::read_dir(path.parent().expect("a folder")).expect("the folder is there").count();

    let csv = CsvWriter::create(&path, &layout(&["a"])).expect("a writable folder");
    assert!(!path.exists(), "nothing is there before the end");
    csv.commit().expect("a writable folder");
    assert_eq!(fs::read(&path).expect("the file is there"), HEADER.as_bytes());

    let mut given_up = AtomicFile::create(&path).expect("a writable folder");
    given_up.write_all(b"half").expect("a writable folder");
    assert_eq!(files(), 2);
    drop(given_up);
    assert_eq!((files(), fs::read(&path).expect("the file is there")), (1, HEADER.as_bytes().to_vec()));

    let mut replacing = CsvWriter::create(&path, &layout(&["a"])).expect("a writable folder");
    finish(&mut replacing, 0, 0, &[]);
    replacing.commit().expect("a writable folder");
    assert_eq!(files(), 1);
    assert!(fs::read(&path).expect("the file is there").ends_with(b"[]\r\n"));
}

#[test]
fn places_that_can_not_be_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("file"), "").expect("a writable folder");
    let check = |name: &str, expected: &str| {
        let fault = AtomicFile::create(&folder.path().join(name)).expect_err(name).to_string();
        let fault = fault.replace(&folder.path().display().to_string(), "DIR");
        assert!(fault.starts_with(expected), "{fault}");
    };
    check("", "DIR/: is a folder\n  hint: name a file in it");
    check("file/out.csv", "DIR/file/out.csv: `DIR/file` on the way there is a file");
}

#[cfg(unix)]
#[test]
fn what_is_no_plain_file_is_written_directly() {
    let path = std::path::Path::new("/dev/null");
    let csv = CsvWriter::create(path, &layout(&["a"])).expect("a device that takes everything");
    csv.commit().expect("a device that takes everything");
    assert!(!path.is_file(), "the device is still there");
}
