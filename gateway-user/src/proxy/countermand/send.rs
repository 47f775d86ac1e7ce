//! How such a request is made, and what comes of it.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Uri,
    header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    pin,
    task::yield_now,
    time::timeout,
};

use super::{Case, Dispatch, Outstanding};
use crate::{
    call::{CancelOutcome, CancelRequest, Timestamp},
    limits,
    proxy::{
        agent::Agent,
        connect::{dial, end_on_drop},
        coverage::add,
        exchange::Server,
        opening::Rewound,
        tls::{ClientHello, TlsLeg, Unmet, Versions},
    },
};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("it took too long")]
    Late,
    #[error("it can't be said: {0}")]
    Unsayable(#[from] http::Error),
    #[error(transparent)]
    Dial(#[from] io::Error),
    #[error("nobody has that name: {0}")]
    Nameless(#[from] InvalidDnsNameError),
    #[error(transparent)]
    Tls(#[from] Unmet),
    #[error("its TLS is not read any more")]
    NotDecrypted,
    #[error("nobody vouches any more for who answers there")]
    Unverified,
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Tells what came of one. Dropped without a word, it has failed.
struct Report {
    case: Case,
    told: bool,
    _asking: Outstanding,
}

impl Dispatch {
    /// Sends it when what is due now has been done, and tells what came of it.
    pub(in crate::proxy) fn send(self, case: Case) {
        add(&case.agent.coverage.countermands, 1);
        let agent = Arc::clone(&case.agent);
        let clock = case.recording.clock;
        let errands = self.letter.errands();
        let report = Report::of(case);
        errands.run(async move {
            // Others that end with it let go of upstream first.
            yield_now().await;
            let asking = async {
                let _turn = agent.policing.countermands.turns.acquire().await;
                self.ask(&agent, clock.now()).await
            };
            let answer = timeout(limits::COUNTERMAND_TIME, asking).await;
            report.tell(answer.unwrap_or(Err(Unanswered::Late)));
        });
    }

    /// The status of what it is answered.
    async fn ask(&self, agent: &Agent, now: Timestamp) -> Result<u16, Unanswered> {
        let request = self.request()?;
        let stream = dial(self.letter.redial.admitted()).await?;
        end_on_drop(&stream);
        match &self.letter.server {
            None => exchange(stream, request).await,
            Some((server, port)) => {
                let leg = Box::pin(greet(agent, server, *port, stream, now)).await?;
                exchange(leg, request).await
            }
        }
    }

    fn request(&self) -> Result<Request<Full<Bytes>>, Unanswered> {
        const JSON: HeaderValue = HeaderValue::from_static("application/json");

        let uri: Uri = self.target.parse().map_err(http::Error::from)?;
        let body = Bytes::copy_from_slice(&self.body);
        let has_body = !body.is_empty();
        let mut request = Request::builder().method(Method::POST).uri(uri).body(Full::new(body))?;
        let fields = request.headers_mut();
        *fields = self.letter.fields();
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        if has_body {
            fields.insert(CONTENT_TYPE, JSON);
        }
        fields.entry(ACCEPT).or_insert(JSON);
        if !has_body {
            // Some servers wait for a body where nothing says that there is none.
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        Ok(request)
    }
}

/// TLS with the same server, which is vouched for no worse than it was.
async fn greet(
    agent: &Agent,
    server: &Server,
    port: u16,
    stream: TcpStream,
    now: Timestamp,
) -> Result<TlsLeg, Unanswered> {
    let decryption = agent.decryption.as_ref().ok_or(Unanswered::NotDecrypted)?;
    let name = ServerName::try_from(server.name.to_string())?;
    let hello = ClientHello {
        alpn: vec![b"http/1.1".as_slice().into()],
        versions: Versions { tls12: true, tls13: true },
        ..ClientHello::default()
    };
    let host = decryption.host(&name, port);
    let met = decryption.greet(&host, &hello, Rewound::new(Vec::new(), stream), now).await?;
    let is_same = (met.verified.for_node || !server.verified)
        && (met.verified.for_agent || !server.vouched_for);
    if is_same { Ok(met.leg) } else { Err(Unanswered::Unverified) }
}

/// One request, and the head of its answer.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    request: Request<Full<Bytes>>,
) -> Result<u16, Unanswered> {
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits::COUNTERMAND_HEAD_BYTES);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let answer = sender.send_request(request);
    pin!(answer);
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    };
    Ok(answer?.status().as_u16())
}

impl Report {
    fn of(case: Case) -> Self {
        let asking = Outstanding::begin(&case.agent);
        Self { case, told: false, _asking: asking }
    }

    fn tell(mut self, answer: Result<u16, Unanswered>) {
        match answer {
            Ok(status) => self.say(CancelOutcome::of(status), Some(status)),
            Err(error) => {
                let step = self.case.stand.step;
                tracing::info!(%step, %error, "upstream can't be asked to end a call");
                self.say(CancelOutcome::Failed, None);
            }
        }
    }

    fn say(&mut self, outcome: CancelOutcome, status: Option<u16>) {
        self.told = true;
        let Case { agent, recording, stand, since } = &self.case;
        if matches!(outcome, CancelOutcome::Failed | CancelOutcome::Refused) {
            add(&agent.coverage.countermands_failed, 1);
        }
        let after_ms = Some(recording.clock.now().since(*since));
        let request = CancelRequest { outcome, status, after_ms };
        recording.recorder.requested(&agent.reference(), stand.workflow, stand.step, request);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.told {
            self.say(CancelOutcome::Failed, None);
        }
    }
}
