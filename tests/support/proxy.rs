//! A TCP proxy on loopback that misbehaves on demand.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bulkload::pg::cluster::free_port;

/// How quickly a change of behaviour takes effect.
const TICK: Duration = Duration::from_millis(10);

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// What of an exchange does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The server never hears it.
    Request,
    /// The server does it, the client never hears of that.
    Reply,
}

/// Forwards connections to a server's port; ends all of them when dropped.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// Connections begun under an older number are cut.
    generation: AtomicU32,
    refuses: AtomicBool,
    is_frozen: AtomicBool,
    delay_ms: AtomicU64,
    /// The first connection whose client sends this is cut.
    trap: Mutex<Option<(Lost, Vec<u8>)>>,
    /// Whether used-up bytes cut only the connection that used them up.
    cuts_one: AtomicBool,
    /// Bytes each way until all connections are cut; `i64::MAX` = never.
    allowance: [AtomicI64; 2],
    forwarded: [AtomicU64; 2],
    accepted: AtomicU32,
    is_over: AtomicBool,
    is_listening: AtomicBool,
}

impl Proxy {
    /// A proxy for a port on 127.0.0.1.
    pub(crate) fn to(server_port: u16) -> Self {
        let port = free_port().unwrap();
        let state = Arc::new(State::default());
        state.allowance.iter().for_each(|allowance| allowance.store(i64::MAX, SeqCst));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || listen(port, server_port, &shared));
        super::wait_until("the proxy listens", || state.is_listening.load(SeqCst));
        Self { port, state }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Every piece that is forwarded waits this long first.
    pub(crate) fn delay(&self, time: Duration) {
        self.state.delay_ms.store(u64::try_from(time.as_millis()).unwrap(), SeqCst);
    }

    /// Cuts all connections once this many more bytes went one way in all; new ones are then served as before.
    pub(crate) fn cut_after(&self, direction: Direction, bytes: i64) {
        self.state.allowance[direction as usize].store(bytes, SeqCst);
    }

    /// The same for the one connection that carries the last of these bytes.
    pub(crate) fn cut_one_after(&self, direction: Direction, bytes: i64) {
        self.state.cuts_one.store(true, SeqCst);
        self.cut_after(direction, bytes);
    }

    /// Cuts the first connection over which a client sends these bytes, before or after the server has got them.
    pub(crate) fn lose(&self, what: Lost, of: &[u8]) {
        *self.trap() = Some((what, of.to_vec()));
    }

    /// Whether the bytes of [`Proxy::lose`] have been seen.
    pub(crate) fn has_lost(&self) -> bool {
        self.trap().is_none()
    }

    fn trap(&self) -> std::sync::MutexGuard<'_, Option<(Lost, Vec<u8>)>> {
        self.state.trap.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts all connections now; new ones are served.
    pub(crate) fn cut(&self) {
        self.state.generation.fetch_add(1, SeqCst);
    }

    /// Nothing is forwarded, and nobody is told; new connections hang too. `false` goes on where it stopped.
    pub(crate) fn freeze(&self, is_frozen: bool) {
        self.state.is_frozen.store(is_frozen, SeqCst);
    }

    /// New connections are refused (nobody listens); those that exist go on. Returns when it is so.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, SeqCst);
        super::wait_until("the proxy opens or closes", || self.state.is_listening.load(SeqCst) != refuses);
    }

    /// Bytes forwarded one way so far.
    pub(crate) fn forwarded(&self, direction: Direction) -> u64 {
        self.state.forwarded[direction as usize].load(SeqCst)
    }

    /// Connections accepted so far.
    pub(crate) fn accepted(&self) -> u32 {
        self.state.accepted.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.is_over.store(true, SeqCst);
    }
}

fn listen(port: u16, server_port: u16, state: &Arc<State>) {
    let mut listener = None;
    while !state.is_over.load(SeqCst) {
        if state.refuses.load(SeqCst) {
            listener = None;
        } else if listener.is_none() {
            let new = TcpListener::bind(("127.0.0.1", port)).unwrap();
            new.set_nonblocking(true).unwrap();
            listener = Some(new);
        }
        state.is_listening.store(listener.is_some(), SeqCst);
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                state.accepted.fetch_add(1, SeqCst);
                // A client whose server is down finds its connection closed.
                if let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)) {
                    join(client, server, state);
                }
            }
            _ => std::thread::sleep(TICK / 2),
        }
    }
}

/// Copies both ways, each in its own thread, until either side ends or the proxy cuts.
fn join(client: TcpStream, server: TcpStream, state: &Arc<State>) {
    let generation = state.generation.load(SeqCst);
    let reply_is_lost = Arc::new(AtomicBool::new(false));
    let ways = [
        (client.try_clone().unwrap(), server.try_clone().unwrap(), Direction::ToServer),
        (server, client, Direction::ToClient),
    ];
    for (from, to, direction) in ways {
        let (state, reply_is_lost) = (Arc::clone(state), Arc::clone(&reply_is_lost));
        std::thread::spawn(move || {
            copy(&from, &to, direction, generation, &reply_is_lost, &state);
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
        });
    }
}

fn copy(
    mut from: &TcpStream,
    mut to: &TcpStream,
    direction: Direction,
    generation: u32,
    reply_is_lost: &AtomicBool,
    state: &State,
) {
    let _ = from.set_nonblocking(false);
    let _ = from.set_read_timeout(Some(TICK));
    let _ = to.set_nodelay(true);
    let is_cut = || state.is_over.load(SeqCst) || state.generation.load(SeqCst) != generation;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => 0,
            Err(_) => return,
        };
        if n > 0 {
            std::thread::sleep(Duration::from_millis(state.delay_ms.load(SeqCst)));
        }
        while state.is_frozen.load(SeqCst) && !is_cut() {
            std::thread::sleep(TICK);
        }
        if is_cut() {
            return;
        }
        match direction {
            Direction::ToServer => match springs(&buffer[..n], state) {
                Some(Lost::Request) => return,
                Some(Lost::Reply) => reply_is_lost.store(true, SeqCst),
                None => {}
            },
            Direction::ToClient if n > 0 && reply_is_lost.load(SeqCst) => return,
            Direction::ToClient => {}
        }
        let n_allowed = allowed(n, &state.allowance[direction as usize]);
        // Counted first: who has received the bytes finds them counted.
        state.forwarded[direction as usize].fetch_add(n_allowed as u64, SeqCst);
        if to.write_all(&buffer[..n_allowed]).is_err() {
            return;
        }
        if n_allowed < n {
            state.allowance[direction as usize].store(i64::MAX, SeqCst);
            if !state.cuts_one.load(SeqCst) {
                state.generation.fetch_add(1, SeqCst);
            }
            return;
        }
    }
}

/// Whether these bytes are those that were waited for; once.
fn springs(bytes: &[u8], state: &State) -> Option<Lost> {
    let mut trap = state.trap.lock().unwrap_or_else(PoisonError::into_inner);
    let (what, of) = trap.as_ref()?;
    let found = bytes.windows(of.len()).any(|window| window == of).then_some(*what);
    if found.is_some() {
        *trap = None;
    }
    found
}

/// How many of `n` bytes may still pass.
fn allowed(n: usize, allowance: &AtomicI64) -> usize {
    if allowance.load(SeqCst) == i64::MAX {
        return n;
    }
    let left = allowance.fetch_sub(i64::try_from(n).unwrap(), SeqCst);
    n.min(usize::try_from(left.max(0)).unwrap())
}
