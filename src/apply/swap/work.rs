//! Sessions that build in parallel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join_all;
use tokio_postgres::Client;

use crate::apply::Context;
use crate::error::{Error, Phase, Result};
use crate::pg::session::{self, CancelHandle, Session};

/// The most memory for one session that builds an index, in kB. More gained nothing.
const MEMORY_KB_MAX: i64 = 1 << 20;

/// Statements that run one after the other, each in its own transaction.
#[derive(Debug)]
pub(crate) struct Job {
    /// Their purpose, for errors.
    pub(super) what: String,
    /// The statements.
    pub(super) statements: Vec<String>,
}

impl Job {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        for statement in &self.statements {
            client.batch_execute(statement).await.map_err(|e| self.failed(&e))?;
        }
        Ok(())
    }

    fn failed(&self, error: &tokio_postgres::Error) -> Error {
        Error::pg(Phase::Apply, &self.what, error)
    }
}

/// The group's own session, and as many others as can be opened.
pub(super) struct Workers<'a> {
    context: &'a Context<'a>,
    own: &'a Session,
    others: Vec<Session>,
    handles: Handles,
}

/// Cancels the workers' statements.
#[derive(Clone, Default)]
pub(super) struct Handles(Arc<Mutex<Vec<CancelHandle>>>);

impl Handles {
    fn add(&self, session: &Session) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(session.cancel_handle());
    }

    /// Cancels all of them.
    pub(super) async fn all(&self) {
        let handles = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        futures::future::join_all(handles.iter().map(CancelHandle::cancel)).await;
    }
}

impl<'a> Workers<'a> {
    pub(super) fn new(context: &'a Context<'a>, own: &'a Session) -> Self {
        let handles = Handles::default();
        handles.add(own);
        Self { context, own, others: Vec::new(), handles }
    }

    pub(super) fn cancel_handles(&self) -> Handles {
        self.handles.clone()
    }

    /// Runs all jobs in order, as many at once as there are sessions.
    pub(super) async fn run(&mut self, jobs: Vec<Job>) -> Result<()> {
        let jobs: VecDeque<Job> = jobs.into_iter().filter(|job| !job.statements.is_empty()).collect();
        self.open_others(jobs.len().min(self.context.builders)).await;
        let count = 1 + self.others.len();
        let jobs = Mutex::new(jobs);
        let clients = std::iter::once(self.own).chain(&self.others).map(|session| &session.client);
        try_join_all(clients.map(|client| work(client, &jobs, (count, self.context.lock_wait))))
            .await
            .map(drop)
    }

    /// Opens sessions until there are `wanted`. If no more can be opened, the existing ones do the work.
    async fn open_others(&mut self, wanted: usize) {
        while 1 + self.others.len() < wanted {
            match session::connect(self.context.connect, self.context.settings).await {
                Ok(session) => {
                    self.handles.add(&session);
                    self.others.push(session);
                }
                Err(error) => {
                    tracing::debug!(phase = %Phase::Apply, %error, "could not open another session for building");
                    return;
                }
            }
        }
    }
}

async fn work(
    client: &Client,
    jobs: &Mutex<VecDeque<Job>>,
    (sessions, lock_wait): (usize, Duration),
) -> Result<()> {
    let next = || jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut is_ready = false;
    while let Some(job) = next() {
        if !std::mem::replace(&mut is_ready, true) {
            client.batch_execute(&equip_sql(sessions, lock_wait)).await.map_err(|e| job.failed(&e))?;
        }
        job.run(client).await?;
    }
    Ok(())
}

/// Returns the statements that prepare one of `sessions` concurrent sessions. They wait for locks as long as `lock_wait`,
/// since no session queues behind the locks that jobs take on other tables. They raise the memory for index builds: the
/// server's free memory is unknown, but its shared buffers are a quarter of its memory or less (manual, 20.4.1), and these
/// sessions together use no more than that.
pub(super) fn equip_sql(sessions: usize, lock_wait: Duration) -> String {
    let lock_wait = lock_wait.as_millis();
    format!(
        "set default_tablespace = '';
         set lock_timeout = {lock_wait};
         select pg_catalog.set_config('maintenance_work_mem', greatest(
             (select m.setting::bigint from pg_catalog.pg_settings m where m.name = 'maintenance_work_mem'),
             least({MEMORY_KB_MAX}, (select b.setting::bigint * (pg_catalog.current_setting('block_size')::bigint / 1024)
                 from pg_catalog.pg_settings b where b.name = 'shared_buffers') / {sessions}))::text || 'kB', false)"
    )
}
