//! What a cluster and its processes are started with. Nothing here starts any.

/// What a cluster is started with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How many workers.
    pub workers: u32,
    /// Task slots of each.
    pub cores: u32,
    /// Further settings, as `section.key=value`; `{role}` in a value is `master` or `worker`.
    pub settings: Vec<String>,
    /// Where workers and drivers dial the master.
    pub listen: String,
}

impl Setup {
    /// Workers with one slot each, which find out soon that another one is gone.
    pub fn new(workers: u32) -> Self {
        let settings =
            ["scheduler.heartbeat_ms=200", "scheduler.worker_timeout_ms=1000", "scheduler.reconnect_ms=500"];
        Self {
            workers,
            cores: 1,
            settings: settings.map(str::to_owned).to_vec(),
            listen: "127.0.0.1:0".into(),
        }
    }

    /// Adds a setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.settings.push(format!("{key}={value}"));
        self
    }
}

/// How a process is started that is not like the others.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extra<'a> {
    /// Further arguments.
    pub args: &'a [&'a str],
    /// Variables of its environment.
    pub env: &'a [(&'a str, String)],
    /// The network namespace that it runs in.
    pub netns: Option<&'a str>,
    /// Whether it may outlive this process: only such a worker takes its time on SIGTERM, as one does that
    /// was started by hand.
    pub free: bool,
}
