//! Dates, times, intervals.

use super::Oracle;

#[tokio::test]
async fn dates() {
    let oracle = Oracle::new().await;
    let extremes = [
        "4713-01-01 BC",
        "4714-11-24 BC",
        "5874897-12-31",
        "infinity",
        "-infinity",
        "0001-01-01",
        "0001-12-31 BC",
        "0001-02-29 BC",
        "0005-02-28 BC",
        "0005-03-01 BC",
        "1999-12-31",
        "2000-01-01",
        "2000-02-29",
        "1900-02-28",
        "1900-03-01",
        "9999-12-31",
        "10000-01-01",
    ];
    oracle.agrees_on("date", &extremes).await;
    oracle
        .agrees("date", "select '2000-01-01'::date + i * 37 from generate_series(-60000, 60000, 7) i")
        .await;
    oracle.agrees("date", "select '1899-12-31'::date + i from generate_series(0, 3000) i").await;
}

#[tokio::test]
async fn times_of_day() {
    let oracle = Oracle::new().await;
    let extremes =
        ["00:00:00", "24:00:00", "23:59:59.999999", "00:00:00.000001", "12:34:56.7", "12:34:56.000100"];
    oracle.agrees_on("time", &extremes).await;
    let zones = [
        "00:00:00+00",
        "24:00:00-15:59",
        "24:00:00+15:59:59",
        "12:34:56.7-15:59:59",
        "01:02:03+05:30",
        "01:02:03-00:00:01",
        "01:02:03-00:30",
        "01:02:03.4+01:00:59",
    ];
    oracle.agrees_on("timetz", &zones).await;
}

#[tokio::test]
async fn instants() {
    let oracle = Oracle::new().await;
    let extremes = [
        "4714-11-24 00:00:00 BC",
        "294276-12-31 23:59:59.999999",
        "infinity",
        "-infinity",
        "0001-12-31 23:59:59.999999 BC",
        "0001-01-01 00:00:00",
        "1999-12-31 23:59:59.999999",
        "2000-01-01 00:00:00",
        "2026-02-28 24:00:00",
        "1970-01-01 00:00:00.1",
        "10000-01-01 00:00:00.123450",
    ];
    let zoned = extremes.map(|value| match value.strip_suffix(" BC") {
        Some(value) => format!("{value}+00 BC"),
        None if value.ends_with("infinity") => value.to_owned(),
        None => format!("{value}+00"),
    });
    oracle.agrees_on("timestamp", &extremes).await;
    oracle.agrees_on("timestamptz", &zoned.each_ref().map(String::as_str)).await;
    oracle
        .agrees_on("timestamptz", &["2026-03-29 02:30:00 Europe/Paris", "1883-11-18 12:03:58-04:56:02"])
        .await;
    let spread = "select '2000-01-01'::timestamp + make_interval(secs => (hashtextextended(i::text, 0) >> 8) / 1000003.0)
                  from generate_series(1, 2000) i
                  where (hashtextextended(i::text, 0) >> 8) / 1000003.0 > -150000000000";
    oracle.agrees("timestamp", spread).await;
    oracle.agrees("timestamptz", spread).await;
}

#[tokio::test]
async fn intervals() {
    let oracle = Oracle::new().await;
    let extremes = [
        "0",
        "1 microsecond",
        "-1 microsecond",
        "1 year",
        "-1 year",
        "2 years",
        "1 mon",
        "-1 mon",
        "-13 mons",
        "1 day",
        "-1 day",
        "-25 hours",
        "1 year -1 day",
        "-1 year 1 day",
        "-1 year 1 mon 1 day 1 second",
        "1 mon -1 day -1 second",
        "-1 day 1 second",
        "-1 mon 1 second",
        "178956970 years 7 mons 2147483646 days 2562047788:00:54.775807",
        "-178956970 years -8 mons",
        "-2147483648 days",
        "-2562047788 hours -54.775808 seconds",
        "100 hours 0.1 second",
    ];
    oracle.agrees_on("interval", &extremes).await;
    // Every combination of signs.
    let signs = "select make_interval(years => y, months => m, days => d, secs => s)
                 from unnest(array[-2, -1, 0, 1, 2]) y, unnest(array[-2, -1, 0, 1, 2]) m, unnest(array[-2, -1, 0, 1, 2]) d,
                      unnest(array[-90061.5, -0.000001, 0, 0.5, 1, 90061]::float8[]) s";
    oracle.agrees("interval", signs).await;
}
