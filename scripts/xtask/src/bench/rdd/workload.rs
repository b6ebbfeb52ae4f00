//! The workloads: which entry point with which arguments, which hand-written program, and the bar.

/// Something that is measured.
pub struct Workload {
    /// Its name on the command line and in what is printed.
    pub name: &'static str,
    /// The file of the plugin, and the entry point.
    pub plugin: &'static str,
    /// The entry point.
    pub entry: &'static str,
    /// Arguments; `{name}` is the path of that file of the data.
    pub args: &'static [(&'static str, &'static str)],
    /// The files that it reads.
    pub files: &'static [&'static str],
    /// What the hand-written program is given, before and after the number of threads.
    pub program: (&'static str, &'static [&'static str]),
    /// The line of the program that tells the time.
    pub clock: &'static str,
    /// How many times the time of two threads it may take.
    pub bar: f64,
    /// Whether only its last job is measured, without starting processes.
    pub job_only: bool,
    /// Whether its answer is the same to the last bit however the records travel.
    pub exact: bool,
}

const WORDS: &str = "libwordcount.so";
const OTHERS: &str = "libworkloads.so";

/// What most have in common.
const PLAIN: Workload = Workload {
    name: "",
    plugin: OTHERS,
    entry: "",
    args: &[],
    files: &[],
    program: ("", &[]),
    clock: "total",
    bar: 1.0,
    job_only: false,
    exact: true,
};

/// All of them, in the order in which they run. The bars are targets divided by the times of two threads,
/// both measured on one machine.
pub const WORKLOADS: [Workload; 10] = [
    Workload {
        name: "first_result",
        plugin: WORDS,
        entry: "wordcount",
        args: &[("input", "{few.txt}")],
        files: &["few.txt"],
        program: ("tasks", &[]),
        clock: "start_to_first_result",
        // A cluster starts a driver and executors, and each of them checks that it is confined.
        bar: 0.05 / 0.0017,
        ..PLAIN
    },
    Workload {
        name: "empty_tasks",
        plugin: WORDS,
        entry: "empty_tasks",
        args: &[("count", "1000")],
        program: ("tasks", &[]),
        clock: "tasks_1000",
        bar: 0.03 / 0.0242,
        job_only: true,
        ..PLAIN
    },
    Workload {
        name: "word_count",
        plugin: WORDS,
        entry: "wordcount",
        args: &[("input", "{text.txt}"), ("top", "20")],
        files: &["text.txt"],
        program: ("wc", &["{text.txt}"]),
        bar: 1.26,
        ..PLAIN
    },
    Workload {
        name: "sort",
        entry: "sort",
        args: &[("input", "{tera.bin}")],
        files: &["tera.bin"],
        program: ("sort", &["{tera.bin}"]),
        bar: 1.9 / 1.34,
        ..PLAIN
    },
    Workload {
        name: "join",
        entry: "join",
        args: &[("left", "{pairs_a.txt}"), ("right", "{pairs_b.txt}")],
        files: &["pairs_a.txt", "pairs_b.txt"],
        program: ("join", &["{pairs_a.txt}", "{pairs_b.txt}"]),
        bar: 1.2 / 0.68,
        ..PLAIN
    },
    Workload {
        name: "group",
        entry: "group",
        args: &[("input", "{pairs_a.txt}")],
        files: &["pairs_a.txt"],
        program: ("group", &["{pairs_a.txt}"]),
        bar: 0.6 / 0.41,
        ..PLAIN
    },
    Workload {
        name: "pagerank",
        entry: "pagerank",
        args: &[("input", "{rmat.txt}"), ("iterations", "20")],
        files: &["rmat.txt"],
        program: ("pagerank", &["{rmat.txt}", "20"]),
        bar: 4.5 / 2.52,
        exact: false,
        ..PLAIN
    },
    Workload {
        name: "kmeans",
        entry: "kmeans",
        args: &[("input", "{points.txt}"), ("iterations", "10")],
        files: &["points.txt"],
        program: ("kmeans", &["{points.txt}", "10"]),
        bar: 1.15,
        exact: false,
        ..PLAIN
    },
    Workload {
        name: "logistic",
        entry: "logistic",
        args: &[("input", "{points.txt}"), ("steps", "10")],
        files: &["points.txt"],
        program: ("lr", &["{points.txt}", "10"]),
        bar: 1.15,
        exact: false,
        ..PLAIN
    },
    Workload {
        name: "logistic_text",
        entry: "logistic_text",
        args: &[("input", "{points.txt}"), ("steps", "10")],
        files: &["points.txt"],
        program: ("lr-text", &["{points.txt}", "10"]),
        bar: 1.1,
        exact: false,
        ..PLAIN
    },
];
