//! Calls that are counted and have no place in a workflow.

use bytes::Bytes;
use http::Response;

use super::{QUESTION, Rig, connect, post, serve, whole, within};

#[tokio::test]
async fn a_count_of_tokens_is_a_call_and_no_step() {
    let (rig, client, server) = Rig::new();
    let (_, serving) = serve(server, ::h2::server::Builder::new(), |_, mut respond| {
        let response = Response::builder().header("content-type", "application/json");
        let mut to = respond.send_response(response.body(()).expect("one"), false).expect("open");
        to.send_data(Bytes::from_static(br#"{"input_tokens":8}"#), true).expect("open");
    });
    let (mut requests, connection) = connect(client).await;
    let request = post("/v1/messages/count_tokens");
    let (response, mut to) = requests.send_request(request, false).expect("it is open");
    to.send_data(Bytes::from_static(QUESTION), true).expect("it is open");
    let mut response = within(response).await.expect("an answer");
    within(whole(response.body_mut())).await.expect("a body");
    drop((requests, to, response));
    assert!(within(connection).await.expect("no panic").is_none());
    within(serving).await.expect("no panic").expect("nothing malformed");
    assert!(rig.heard.placed().is_empty() && rig.heard.finished().is_empty());
    let coverage = rig.coverage();
    assert_eq!((coverage.calls, coverage.calls_not_understood), (1, 0));
    assert_eq!(rig.counted("exchanges_other"), 0);
    rig.ended().await.expect("good order");
}
