//! What the control socket answers to: HTTP/1.1 and JSON, under `/v1`.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/agents` | a list of [`AgentInfo`] |
//! | `POST /v1/agents` with an [`AttachRequest`] | the [`AgentInfo`], 201 |
//! | `DELETE /v1/agents/{name}?force=true` | 204 |
//! | `GET /v1/ca` | a [`CaInfo`] |
//! | `POST /v1/ca` | the [`CaInfo`] of the authority that takes its place |
//! | `GET /v1/budgets?limit=` | a list of [`BudgetInfo`], each with so many holders |
//! | `POST /v1/budgets/reset` with a [`ResetRequest`] | the [`Reset`] |
//! | `GET /v1/kills` | a list of [`Kill`] |
//! | `POST /v1/kills` with a [`KillRequest`] | the [`KillReport`] |
//! | `POST /v1/kills/revoke` with a [`ReviveRequest`] | [`Revived`] |
//! | `GET /v1/workflows?agent=&session=&state=&limit=` | a list of [`WorkflowSummary`] |
//! | `GET /v1/workflows/{the id or its beginning}` | a [`Workflow`] |
//! | `GET /v1/traces`, filtered as `/v1/workflows` is | each [`Workflow`] on a line of its own |
//!
//! Whatever is not done is answered by a [`Refusal`]: 400 for what can't be read, 403 for a peer
//! that may not ask, 404 for what is not there, 409 for what the gateway refuses.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, FromRequest, Path, Query, Request, State,
        rejection::{PathRejection, QueryRejection},
    },
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use hyper::body::Frame;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{runtime, time};

use super::{
    budget::{BudgetInfo, Reset, ResetRequest},
    kill::{KillReport, KillRequest, ReviveRequest, Revived},
    model::{AgentInfo, AttachRequest, CaInfo, Refusal, Status},
};
use crate::{
    call::{self, SessionId, Workflow, WorkflowSummary},
    cancel::Kill,
    limits,
    store::Filter,
};

/// What the control API shows and steers.
pub trait Gateway: Send + Sync + 'static {
    /// Where what takes its time is done.
    fn runtime(&self) -> runtime::Handle;

    fn status(&self) -> Status;

    fn agents(&self) -> Vec<AgentInfo>;

    /// Runs to its end even if the peer goes away meanwhile.
    fn attach(
        &self,
        peer: Peer,
        request: AttachRequest,
    ) -> impl Future<Output = Result<AgentInfo, Refusal>> + Send;

    /// Runs to its end even if the peer goes away meanwhile.
    fn detach(&self, name: &str, force: bool) -> impl Future<Output = Result<(), Refusal>> + Send;

    fn ca(&self) -> CaInfo;

    /// Replaces the certificate authority. Runs to its end even if the peer goes away meanwhile.
    fn rotate_ca(&self) -> impl Future<Output = Result<CaInfo, Refusal>> + Send;

    /// Each with so many of its holders, the fullest first.
    fn budgets(&self, limit: usize) -> Vec<BudgetInfo>;

    /// Lets somebody spend anew.
    fn reset_budget(&self, peer: Peer, request: ResetRequest) -> Result<Reset, Refusal>;

    /// Those in force.
    fn kills(&self) -> Vec<Kill>;

    /// Ends what is under way, and waits for silence. Runs to its end even if the peer goes away
    /// meanwhile.
    fn kill(
        &self,
        peer: Peer,
        request: KillRequest,
    ) -> impl Future<Output = Result<KillReport, Refusal>> + Send;

    /// Has what was killed, or stopped by a budget, go on. Runs to its end even if the peer goes away
    /// meanwhile.
    fn revive(
        &self,
        peer: Peer,
        request: ReviveRequest,
    ) -> impl Future<Output = Result<Revived, Refusal>> + Send;

    fn workflows(&self, filter: &Filter) -> Vec<WorkflowSummary>;

    /// The workflow whose id begins so; refused if there is none, or more than one.
    fn workflow(&self, id_prefix: &str) -> Result<Workflow, Refusal>;

    fn all_workflows(&self, filter: &Filter) -> Vec<Workflow>;

    /// Whether the process may use the control socket: false for one in an attached cgroup.
    fn admits(&self, peer: &Peer) -> bool;
}

/// Who is at the other end of a connection to the control socket, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub pid: u32,
    pub uid: u32,
}

/// The routes. Each request must carry a [`Peer`] as an extension; one without is refused.
pub fn router<G: Gateway>(gateway: Arc<G>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<G>))
        .route("/v1/agents", get(agents::<G>).post(attach::<G>))
        .route("/v1/agents/{name}", delete(detach::<G>))
        .route("/v1/ca", get(ca::<G>).post(rotate_ca::<G>))
        .route("/v1/budgets", get(budgets::<G>))
        .route("/v1/budgets/reset", post(reset_budget::<G>))
        .route("/v1/kills", get(kills::<G>).post(kill::<G>))
        .route("/v1/kills/revoke", post(revive::<G>))
        .route("/v1/workflows", get(workflows::<G>))
        .route("/v1/workflows/{id}", get(workflow::<G>))
        .route("/v1/traces", get(traces::<G>))
        .fallback(async || refuse(StatusCode::NOT_FOUND, "the control API has no such path"))
        .method_not_allowed_fallback(async || {
            refuse(StatusCode::METHOD_NOT_ALLOWED, "the control API has no such method here")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&gateway), admit::<G>))
        .layer(DefaultBodyLimit::max(limits::CONTROL_REQUEST_BYTES))
        .with_state(gateway)
}

/// A refusal with its HTTP status.
#[derive(Debug)]
struct Refused(StatusCode, Refusal);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(self.1)).into_response()
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Refused {
    Refused(status, Refusal::new(error))
}

fn refused(refusal: Refusal) -> Refused {
    Refused(StatusCode::CONFLICT, refusal)
}

/// Which workflows, as the query says it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FilterQuery {
    agent: Option<String>,
    session: Option<SessionId>,
    state: Option<call::State>,
    limit: Option<usize>,
}

impl From<FilterQuery> for Filter {
    fn from(query: FilterQuery) -> Self {
        let FilterQuery { agent, session, state, limit } = query;
        Self { agent, session, state, limit }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetachQuery {
    #[serde(default)]
    force: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetQuery {
    limit: usize,
}

/// Lets a request through if its peer may use the control socket.
async fn admit<G: Gateway>(
    State(gateway): State<Arc<G>>,
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    match peer {
        Some(Extension(peer)) if gateway.admits(&peer) => next.run(request).await,
        _ => Refused(
            StatusCode::FORBIDDEN,
            Refusal::new("an agent's own processes may not use the control socket")
                .fix("run the command from a shell that is not attached"),
        )
        .into_response(),
    }
}

async fn status<G: Gateway>(State(gateway): State<Arc<G>>) -> Json<Status> {
    Json(gateway.status())
}

async fn agents<G: Gateway>(State(gateway): State<Arc<G>>) -> Json<Vec<AgentInfo>> {
    Json(gateway.agents())
}

async fn attach<G: Gateway>(
    State(gateway): State<Arc<G>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<(StatusCode, Json<AgentInfo>), Refused> {
    let request: AttachRequest = document(request).await?;
    let agent =
        to_its_end(&gateway.runtime(), async move { gateway.attach(peer, request).await }).await?;
    Ok((StatusCode::CREATED, Json(agent)))
}

async fn detach<G: Gateway>(
    State(gateway): State<Arc<G>>,
    name: Result<Path<String>, PathRejection>,
    query: Result<Query<DetachQuery>, QueryRejection>,
) -> Result<StatusCode, Refused> {
    let Path(name) = name.map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
    let Query(query) =
        query.map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
    to_its_end(&gateway.runtime(), async move { gateway.detach(&name, query.force).await }).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn ca<G: Gateway>(State(gateway): State<Arc<G>>) -> Json<CaInfo> {
    Json(gateway.ca())
}

async fn rotate_ca<G: Gateway>(State(gateway): State<Arc<G>>) -> Result<Json<CaInfo>, Refused> {
    to_its_end(&gateway.runtime(), async move { gateway.rotate_ca().await }).await.map(Json)
}

/// What a request holds, in no more time than that takes.
async fn document<T: DeserializeOwned>(request: Request) -> Result<T, Refused> {
    let read = Json::<T>::from_request(request, &());
    let body = time::timeout(limits::CONTROL_REQUEST_TIME, read)
        .await
        .map_err(|_| refuse(StatusCode::REQUEST_TIMEOUT, "the request did not come to its end"))?;
    let Json(document) =
        body.map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
    Ok(document)
}

async fn budgets<G: Gateway>(
    State(gateway): State<Arc<G>>,
    query: Result<Query<BudgetQuery>, QueryRejection>,
) -> Result<Json<Vec<BudgetInfo>>, Refused> {
    let Query(query) =
        query.map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
    Ok(Json(gateway.budgets(query.limit.min(limits::HOLDERS_SHOWN))))
}

async fn reset_budget<G: Gateway>(
    State(gateway): State<Arc<G>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<Reset>, Refused> {
    let request = document(request).await?;
    gateway.reset_budget(peer, request).map(Json).map_err(refused)
}

async fn kills<G: Gateway>(State(gateway): State<Arc<G>>) -> Json<Vec<Kill>> {
    Json(gateway.kills())
}

async fn kill<G: Gateway>(
    State(gateway): State<Arc<G>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<KillReport>, Refused> {
    let request: KillRequest = document(request).await?;
    // Here, at once: what takes its time elsewhere does not hold it up.
    let killing = async move { gateway.kill(peer, request).await };
    to_its_end(&runtime::Handle::current(), killing).await.map(Json)
}

async fn revive<G: Gateway>(
    State(gateway): State<Arc<G>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<Revived>, Refused> {
    let request: ReviveRequest = document(request).await?;
    let reviving = async move { gateway.revive(peer, request).await };
    to_its_end(&runtime::Handle::current(), reviving).await.map(Json)
}

async fn workflows<G: Gateway>(
    State(gateway): State<Arc<G>>,
    query: Result<Query<FilterQuery>, QueryRejection>,
) -> Result<Json<Vec<WorkflowSummary>>, Refused> {
    Ok(Json(gateway.workflows(&filter(query)?)))
}

async fn workflow<G: Gateway>(
    State(gateway): State<Arc<G>>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Workflow>, Refused> {
    let Path(id) = id.map_err(|rejection| refuse(rejection.status(), rejection.body_text()))?;
    match gateway.workflow(&id) {
        Ok(workflow) => Ok(Json(workflow)),
        Err(refusal) => Err(Refused(StatusCode::NOT_FOUND, refusal)),
    }
}

async fn traces<G: Gateway>(
    State(gateway): State<Arc<G>>,
    query: Result<Query<FilterQuery>, QueryRejection>,
) -> Result<Response, Refused> {
    let lines = Lines(gateway.all_workflows(&filter(query)?).into_iter());
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::new(lines)).into_response())
}

fn filter(query: Result<Query<FilterQuery>, QueryRejection>) -> Result<Filter, Refused> {
    match query {
        Ok(Query(query)) => Ok(query.into()),
        Err(rejection) => Err(refuse(rejection.status(), rejection.body_text())),
    }
}

/// Runs the work apart from the request. A request is dropped when its peer goes away, and what is
/// half attached or half detached must not be left so.
async fn to_its_end<T: Send + 'static>(
    runtime: &runtime::Handle,
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refused> {
    match runtime.spawn(work).await {
        Ok(result) => result.map_err(refused),
        Err(_) => Err(refuse(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the gateway failed to do this; its log says why",
        )),
    }
}

/// Workflows as lines of JSON, each written out when there is room for it.
#[derive(Debug)]
struct Lines(vec::IntoIter<Workflow>);

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = serde_json::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, serde_json::Error>>> {
        Poll::Ready(self.0.next().map(|workflow| {
            let mut line = serde_json::to_vec(&workflow)?;
            line.push(b'\n');
            Ok(Frame::data(line.into()))
        }))
    }
}
