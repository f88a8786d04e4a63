//! Exact numbers, addresses, bits, shapes, and what the system catalogs are made of.

use super::Oracle;

#[tokio::test]
async fn integers() {
    let oracle = Oracle::new().await;
    oracle.agrees_on("int2", &["0", "-1", "32767", "-32768"]).await;
    oracle.agrees_on("int4", &["0", "-1", "2147483647", "-2147483648"]).await;
    oracle.agrees_on("int8", &["0", "-1", "9223372036854775807", "-9223372036854775808"]).await;
    oracle.agrees_on("oid", &["0", "4294967295"]).await;
    oracle.agrees_on("xid", &["0", "4294967295"]).await;
    oracle.agrees_on("cid", &["4294967295"]).await;
    oracle.agrees_on("xid8", &["0", "18446744073709551615"]).await;
    oracle.agrees_on("tid", &["(0,0)", "(4294967295,65535)"]).await;
    oracle.agrees_on("pg_lsn", &["0/0", "16/B374D848", "FFFFFFFF/FFFFFFFF"]).await;
    oracle.agrees_on("pg_snapshot", &["1:1:", "10:20:10,14,15"]).await;
    oracle.agrees_on("txid_snapshot", &["10:20:10,14,15"]).await;
    oracle.agrees_on("int2vector", &["", "1", "-3 2 1"]).await;
    oracle.agrees_on("oidvector", &["", "4294967295 0 7"]).await;
    oracle.agrees_on("bool", &["t", "f"]).await;
}

#[tokio::test]
async fn numerics() {
    let oracle = Oracle::new().await;
    let extremes = [
        "NaN",
        "0",
        "0.0",
        "0.00000",
        "-0.0",
        "1",
        "-1",
        "9",
        "10",
        "9999",
        "10000",
        "10001",
        "99999999",
        "100000000",
        "0.1",
        "0.0001",
        "0.00001",
        "0.00010000",
        "-0.000000000000000000000001",
        "1.10",
        "1.00010",
        "12345.6789",
        "1234500000000.00006789",
        "1e400",
        "1e-400",
        "-12345678901234567890.123456789012345678901234567890",
        "1e131071",
        "1e-16383",
    ];
    oracle.agrees_on("numeric", &extremes).await;
    oracle.agrees_on("numeric(10,2)", &["0", "NaN", "-0.005", "99999999.99"]).await;
    if oracle.session.server_version >= 140_000 {
        oracle.agrees_on("numeric", &["Infinity", "-Infinity"]).await;
    }
    oracle.agrees("numeric", "select ('1e' || e)::numeric from generate_series(-60, 60) e").await;
    oracle
        .agrees(
            "numeric",
            "select round(hashtextextended(i::text, 0)::numeric * ('1e' || i % 60 - 40)::numeric, i % 37 - 3)
             from generate_series(1, 5000) i",
        )
        .await;
}

#[tokio::test]
async fn money_in_the_locale_c() {
    let oracle = Oracle::new().await;
    let extremes = [
        "0",
        "0.01",
        "-0.01",
        "1",
        "999.99",
        "1000",
        "-1000",
        "999999.99",
        "1000000",
        "92233720368547758.07",
        "-92233720368547758.08",
    ];
    oracle.agrees_on("money", &extremes).await;
    let query = "select ((hashtextextended(i::text, 0) >> i % 60) / 100.0) from generate_series(1, 1000) i";
    oracle.agrees("money", query).await;
}

#[tokio::test]
async fn network_addresses() {
    let oracle = Oracle::new().await;
    let addresses = [
        "0.0.0.0",
        "255.255.255.255",
        "10.1.2.3/8",
        "10.1.2.3/0",
        "192.168.100.128/25",
        "::",
        "::1",
        "::2",
        "::/0",
        "::1/64",
        "::1.2.3.4",
        "::0.1.0.0",
        "::ffff:1.2.3.4",
        "::ffff:0:0",
        "::ffff:1:0:0",
        "::fffe:1.2.3.4",
        "0:0:0:0:1:ffff:1:2",
        "1::",
        "1::8",
        "1:2:3:4:5:6:7:8",
        "1:0:0:4:5:0:0:8",
        "1:0:0:4:0:0:0:8",
        "1:0:3:4:5:6:7:8",
        "0:2:3:4:5:6:7:8",
        "0:0:3:4:5:6:7:8",
        "1:2:3:4:5:6:0:0",
        "1:2:3:4:5:6:7:0",
        "fe80::abcd:ef01:2345:6789/10",
        "2001:db8::1:0:0:1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/127",
    ];
    oracle.agrees_on("inet", &addresses).await;
    let networks = [
        "0.0.0.0/0",
        "10/8",
        "192.168.1",
        "192.168.100.128/25",
        "1.2.3.4/32",
        "::/0",
        "2001:db8::/32",
        "::1",
        "::1.2.3.4",
        "::ffff:1.2.3.0/120",
    ];
    oracle.agrees_on("cidr", &networks).await;
    // Every pattern of groups that are zero.
    let patterns =
        "select string_agg(case when i >> g & 1 = 1 then '0' else to_hex(g * 4369 + i) end, ':' order by g)
                    from generate_series(0, 255) i, generate_series(0, 7) g group by i";
    oracle.agrees("inet", patterns).await;
    let embedded = "select h || ':' || to_hex(i * 257) || ':' || to_hex(i % 3) from generate_series(0, 9) i,
                    unnest(array['0:0:0:0:0:0', '0:0:0:0:0:ffff', '0:0:0:0:0:fffe', '0:0:0:0:ffff:0', '1:0:0:0:0:0']) h";
    oracle.agrees("inet", embedded).await;
    oracle.agrees_on("macaddr", &["00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"]).await;
    oracle.agrees_on("macaddr8", &["00:00:00:00:00:00:00:00", "08:00:2b:01:02:03:04:ff"]).await;
}

#[tokio::test]
async fn bits_and_bytes() {
    let oracle = Oracle::new().await;
    oracle.agrees_on("bit(1)", &["0", "1"]).await;
    oracle.agrees_on("bit(9)", &["000000000", "111111111", "100000001"]).await;
    oracle
        .agrees("varbit", "select repeat('1101000', i)::bit varying(700) from generate_series(0, 100) i")
        .await;
    oracle.agrees_on("varbit", &["", "0", "10000000", "100000001"]).await;
    oracle
        .agrees("bytea", "select decode(repeat(md5(i::text), i % 9), 'hex') from generate_series(0, 300) i")
        .await;
    oracle.agrees_on("bytea", &["", "\\x00", "\\xff5c0a"]).await;
    let uuids = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"];
    oracle.agrees_on("uuid", &uuids).await;
    oracle.agrees("uuid", "select md5(i::text)::uuid from generate_series(1, 300) i").await;
}

#[tokio::test]
async fn shapes() {
    let oracle = Oracle::new().await;
    oracle.agrees_on("point", &["(0,-0)", "(1e300,-1e-300)", "(infinity,nan)", "(0.1,12345678)"]).await;
    oracle.agrees_on("line", &["{1,2,3}", "{-1,0,1e-7}"]).await;
    oracle.agrees_on("lseg", &["[(1,2),(3,4)]", "[(0,0),(0,0)]"]).await;
    oracle.agrees_on("box", &["(1,2),(3,4)", "(3.5,-4),(1,2e20)"]).await;
    oracle.agrees_on("path", &["[(1,2)]", "((1,2),(3,4))", "[(1,2),(3,4),(5,6)]"]).await;
    oracle.agrees_on("polygon", &["((1,2))", "((1,2),(3,4),(5,6))"]).await;
    oracle.agrees_on("circle", &["<(1,2),3>", "<(-1e20,2),0>"]).await;
}
