use indicatif::{InMemoryTerm, ProgressDrawTarget, TermLike};

use super::*;

fn expected(name: &str, rows: u64, bytes: u64, chunks: u64) -> Expected {
    Expected { name: name.to_owned(), rows, bytes, chunks }
}

fn three_tables() -> Arc<Progress> {
    Progress::new(
        ProgressMode::Auto,
        vec![
            expected("public.jobtasks", 1_000_000, 80_000_000, 4),
            expected("public.jobshead", 0, 10_000_000, 1),
            expected("app.\"Work Diary of everyone\"", 10, 10_000_000, 1),
        ],
    )
}

/// Speeds after one second in which `progress` moved from what it is now by `step`.
fn speeds_over(progress: &Progress, step: impl FnOnce()) -> Speeds {
    let mut speeds = Speeds::default();
    let start = Instant::now();
    speeds.observe(&progress.snapshot(), start);
    step();
    speeds.observe(&progress.snapshot(), start + Duration::from_secs(1));
    speeds
}

fn plain(text: &str) -> Vec<String> {
    anstream::adapter::strip_str(text).to_string().lines().map(str::to_owned).collect()
}

#[test]
fn a_run_at_work_fits_eighty_columns() {
    let progress = three_tables();
    progress.table(0).phase(Phase::Load);
    progress.table(1).phase(Phase::Verify);
    progress.table(2).phase(Phase::Apply);
    progress.table(2).note("waiting for lock, attempt 3");
    let speeds = speeds_over(&progress, || progress.table(0).add(200_000, 20_000_000, 21_000_000));
    let lines = plain(&picture::lines(&progress.snapshot(), &speeds, 79, 8));
    assert_eq!(
        lines,
        [
            "load      0/3 tables  200,000 rows  20.0 MB/s   36%  ETA 4 s",
            "  jobtasks         ██░░░░░░░░  20%      200,000 rows   20.0 MB/s  ETA 4 s",
            "  jobshead         verify",
            "  app.\"Work Diary… apply: waiting for lock, attempt 3",
        ]
    );
}

#[test]
fn what_is_built_early_is_shown_below_what_loads_until_it_is_done_or_due() {
    let progress = three_tables();
    let shown = || {
        let lines = plain(&picture::lines(&progress.snapshot(), &Speeds::default(), 79, 8));
        lines.into_iter().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let table = progress.table(0);
    table.phase(Phase::Load);
    table.early(Some("building indexes"));
    assert_eq!(shown().collect::<Vec<_>>(), ["jobtasks ░░░░░░░░░░ 0% 0 rows 0.0 kB/s"], "it is not loaded");
    table.loaded();
    progress.table(1).phase(Phase::Load);
    table.early(Some("building indexes"));
    assert_eq!(
        shown().collect::<Vec<_>>(),
        ["jobshead ░░░░░░░░░░ 0% 0 rows 0.0 kB/s", "jobtasks apply: building indexes"]
    );
    assert_eq!(progress.snapshot().phase(), Phase::Load);
    table.early(None);
    assert_eq!(shown().count(), 1);
    table.early(Some("building indexes"));
    table.phase(Phase::Verify);
    table.early(None);
    assert_eq!(shown().next_back().as_deref(), Some("jobtasks verify"));
}

#[test]
fn huge_figures_and_narrow_terminals_never_make_a_line_too_wide() {
    let progress = three_tables();
    progress.table(0).phase(Phase::Load);
    progress.table(0).add(99_999_999_999, u64::MAX / 4, 0);
    let snapshot = progress.snapshot();
    for width in [10, 40, 79, 100] {
        for line in plain(&picture::lines(&snapshot, &Speeds::default(), width, 8)) {
            assert!(console::measure_text_width(&line) <= width, "{width}: {line}");
        }
    }
}

#[test]
fn tables_beyond_the_screen_are_counted() {
    let tables = (0..20).map(|i| expected(&format!("t{i}"), 1, 1, 1)).collect();
    let progress = Progress::new(ProgressMode::Auto, tables);
    for i in 0..20 {
        progress.table(i).phase(Phase::Load);
    }
    let lines = plain(&picture::lines(&progress.snapshot(), &Speeds::default(), 79, 8));
    assert_eq!(lines.len(), 9);
    assert!(lines[7].starts_with("  t6 "), "{lines:?}");
    assert_eq!(lines[8], "  and 13 more");
}

#[test]
fn tables_that_are_applied_together_share_a_line_without_a_speed() {
    let progress = three_tables();
    for i in 0..3 {
        progress.table(i).add(1_000, 1, 1);
        progress.table(i).phase(Phase::Apply);
        progress.table(i).note("waiting for a lock, attempt 2");
    }
    let lines = plain(&picture::lines(&progress.snapshot(), &Speeds::default(), 79, 8));
    assert_eq!(
        lines,
        [
            "apply     0/3 tables  3,000 rows",
            "  jobtasks         apply, with 2 others: waiting for a lock, attempt 2"
        ]
    );
    assert_eq!(picture::log_line(&progress.snapshot(), &Speeds::default()), "0/3 tables, 3,000 rows");
}

#[test]
fn a_table_that_waits_for_others_takes_no_line_and_the_run_is_where_the_last_one_is() {
    let progress = three_tables();
    let phase = || progress.snapshot().phase();
    assert_eq!(phase(), Phase::Load, "nothing has begun");
    progress.table(0).loaded();
    progress.table(1).phase(Phase::Load);
    progress.table(2).phase(Phase::Apply);
    let lines = plain(&picture::lines(&progress.snapshot(), &Speeds::default(), 79, 8));
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(phase(), Phase::Load);
    progress.table(1).loaded();
    assert_eq!(phase(), Phase::Verify);
    progress.table(0).finish(true);
    progress.table(1).finish(false);
    assert_eq!(phase(), Phase::Apply);
    progress.table(2).finish(true);
    assert_eq!(phase(), Phase::Record);
}

#[test]
fn a_table_is_complete_only_when_its_chunks_are() {
    let progress = three_tables();
    let table = progress.table(0);
    assert_eq!(table.snapshot().done(), 0.0);
    table.phase(Phase::Load);
    table.add(5_000_000, 1, 1);
    assert_eq!(table.snapshot().done(), 0.99, "more rows than expected");
    table.retract(5_000_000, 1, 1);
    assert_eq!(table.rows(), 0);
    table.chunk_done();
    assert_eq!(table.snapshot().done(), 0.25, "fewer rows than expected");
    (0..3).for_each(|_| table.chunk_done());
    assert_eq!(table.snapshot().done(), 1.0);
    let by_bytes = progress.table(1);
    by_bytes.phase(Phase::Load);
    by_bytes.add(1, 5_000_000, 1);
    assert_eq!(by_bytes.snapshot().done(), 0.5);
}

#[test]
fn the_log_line_says_the_same_in_words() {
    let progress = three_tables();
    progress.table(1).finish(false);
    progress.table(0).phase(Phase::Load);
    let speeds = speeds_over(&progress, || progress.table(0).add(200_000, 20_000_000, 21_000_000));
    let line = picture::log_line(&progress.snapshot(), &speeds);
    assert_eq!(line, "1/3 tables, 1 failed, 200,000 rows, 20.0 MB/s, ETA 5 s");
}

#[test]
fn the_log_writes_above_the_picture_and_nothing_of_it_remains() {
    let term = InMemoryTerm::new(24, 80);
    let target = ProgressDrawTarget::term_like(Box::new(term.clone()));
    let canvas = Canvas::on(target, Some((24, 80)));
    let bar = canvas.bar().clone();
    let progress = three_tables();
    assert!(progress.put_up(Some(canvas)));
    for i in 0..3 {
        progress.table(i).phase(Phase::Load);
    }
    let picture = |progress: &Progress| {
        plain(&picture::lines(&progress.snapshot(), &Speeds::default(), 79, 8)).join("\n")
    };
    let full = picture(&progress);
    progress.draw(&progress.snapshot(), &Speeds::default());
    assert_eq!(term.contents(), full);
    bar.suspend(|| term.write_line("a log line").unwrap());
    assert_eq!(term.contents(), format!("a log line\n{full}"));
    progress.table(0).finish(true);
    progress.table(1).finish(true);
    progress.draw(&progress.snapshot(), &Speeds::default());
    assert_eq!(term.contents(), format!("a log line\n{}", picture(&progress)), "lines of finished tables go");
    progress.finish();
    assert_eq!(term.contents(), "a log line");
    progress.draw(&progress.snapshot(), &Speeds::default());
    bar.suspend(|| term.write_line("another").unwrap());
    assert_eq!(term.contents(), "a log line\nanother");
}

#[test]
fn nothing_is_put_up_after_the_end() {
    let term = InMemoryTerm::new(24, 80);
    let canvas = Canvas::on(ProgressDrawTarget::term_like(Box::new(term.clone())), Some((24, 80)));
    let progress = three_tables();
    progress.finish();
    assert!(!progress.put_up(Some(canvas)));
    assert_eq!(term.contents(), "");
}

#[tokio::test(start_paused = true)]
async fn the_renderer_ends_when_finished_cancelled_or_dropped() {
    let ends = async |stop: fn(Arc<Progress>, &CancellationToken)| {
        let cancel = CancellationToken::new();
        let progress = three_tables();
        let renderer = progress.spawn_renderer(cancel.clone());
        tokio::time::sleep(DRAW_EVERY * 3).await;
        assert!(!renderer.is_finished());
        stop(progress, &cancel);
        tokio::time::timeout(DRAW_EVERY * 3, renderer).await.unwrap().unwrap();
    };
    ends(|progress, _| {
        progress.finish();
        std::mem::forget(progress);
    })
    .await;
    ends(|progress, cancel| {
        cancel.cancel();
        std::mem::forget(progress);
    })
    .await;
    ends(|progress, _| drop(progress)).await;
}
