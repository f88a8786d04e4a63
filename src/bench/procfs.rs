//! Process figures from the Linux kernel. On other systems they are unavailable and not shown.

use std::time::Duration;

/// One line of `/proc/PID/stat`: the parent, and the CPU time (proc(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// CPU time of all its threads, in ticks.
    own: u64,
    /// CPU time of children that it has waited for.
    reaped: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The program's name, in parentheses, may contain any character.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_ascii_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
        })
    }
}

fn duration(ticks: u64) -> Duration {
    // A tick is 10 ms on every Linux that PostgreSQL runs on, but this is not guaranteed.
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}

/// Returns the CPU time that a process has used, including one that has ended but was not waited for. The resolution is 10
/// ms.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    Stat::of(pid).map(|stat| duration(stat.own))
}

/// Returns the peak memory of a process in bytes; `None` if it has ended.
pub(super) fn peak_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

/// A PostgreSQL server that runs on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Server {
    postmaster: u32,
}

impl Server {
    /// Returns the server of a backend, if that process serves `database` on this machine. The ID alone could belong to any
    /// process, if the server runs elsewhere.
    pub(super) fn of_backend(pid: i32, database: &str) -> Option<Self> {
        let pid = u32::try_from(pid).ok()?;
        let title = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let title = String::from_utf8_lossy(&title);
        let is_it = title.starts_with("postgres:") && title.contains(database);
        is_it.then(|| Stat::of(pid)).flatten().map(|stat| Self { postmaster: stat.parent })
    }

    /// Returns the CPU time of all its processes so far, including those that have ended.
    pub(super) fn cpu(self) -> Option<Duration> {
        // A backend that ends between two readings would count twice, or not at all: repeat until none does.
        for _ in 0..50 {
            let children = self.children();
            let postmaster = Stat::of(self.postmaster)?;
            let own: Option<u64> =
                children.iter().map(|&pid| Stat::of(pid).map(|stat| stat.own)).sum::<Option<u64>>();
            if let Some(own) = own
                && children == self.children()
                && Stat::of(self.postmaster)?.reaped == postmaster.reaped
            {
                return Some(duration(postmaster.own + postmaster.reaped + own));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        None
    }

    fn children(self) -> Vec<u32> {
        let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|&pid| Stat::of(pid).is_some_and(|stat| stat.parent == self.postmaster))
            .collect()
    }
}

/// The time that the machine's cores have spent in each state, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cores {
    all: u64,
    idle: u64,
    waiting_for_disk: u64,
}

impl Cores {
    /// Reads the current values.
    pub(super) fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu user nice system idle iowait irq softirq steal …`; guest time is part of user time.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_ascii_whitespace().take(8).flat_map(str::parse).collect();
        Some(Self { all: ticks.iter().sum(), idle: *ticks.get(3)?, waiting_for_disk: *ticks.get(4)? })
    }

    /// Returns the share of the time since then in which a core only waited for a disk.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn disk_share_since(self, then: Self) -> Option<f64> {
        let all = self.all.checked_sub(then.all).filter(|&all| all > 0)?;
        Some(self.waiting_for_disk.saturating_sub(then.waiting_for_disk) as f64 / all as f64)
    }
}

impl Cores {
    /// Returns the share of the time since then that the cores spent on work other than `ours`.
    pub(super) fn others_share_since(self, then: Self, ours: Duration) -> Option<f64> {
        let all = duration(self.all.checked_sub(then.all).filter(|&all| all > 0)?).as_secs_f64();
        let nothing = (self.idle + self.waiting_for_disk).saturating_sub(then.idle + then.waiting_for_disk);
        let others = all - duration(nothing).as_secs_f64() - ours.as_secs_f64();
        Some((others / all).clamp(0.0, 1.0))
    }
}

/// Returns the processor's name.
pub(super) fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the machine's memory in bytes.
pub(super) fn memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kb = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    kb.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_whose_name_looks_like_fields_is_read_right() {
        let line = "42 (a) S 1 (b) R 7 42 42 0 -1 4194304 1 2 3 4 100 23 5 6 20 0 1 0 99 1 1\n";
        assert_eq!(Stat::parse(line), Some(Stat { parent: 7, own: 123, reaped: 11 }));
        assert_eq!(Stat::parse("42 (a) R 7"), None);
    }

    #[test]
    fn waiting_for_a_disk_is_a_share_of_the_time() {
        let then = Cores::parse("cpu  10 0 10 70 10 0 0 0 0 0\ncpu0 1 1\n").unwrap();
        let now = Cores::parse("cpu  20 0 20 100 60 0 0 0 0 0\n").unwrap();
        assert_eq!(now.disk_share_since(then), Some(0.5));
        // 20 of 100 ticks were work; at 100 ticks a second, a quarter of that was ours.
        let ours = duration(5);
        assert!((now.others_share_since(then, ours).unwrap() - 0.15).abs() < 1e-9);
        assert_eq!(then.disk_share_since(then), None);
    }

    #[test]
    fn this_very_process_has_used_memory() {
        if std::path::Path::new("/proc/self/stat").exists() {
            assert!(peak_memory(std::process::id()).unwrap() > 100_000);
            assert!(cpu(std::process::id()).is_some());
        }
    }
}
