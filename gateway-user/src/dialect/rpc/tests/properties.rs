use proptest::prelude::*;

use super::*;

fn pieces<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    cuts.extend([0, body.len()]);
    cuts.sort_unstable();
    cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect()
}

fn read(
    request: &[&[u8]],
    head: &ResponseInfo<'_>,
    response: &[&[u8]],
) -> (Option<Vec<What>>, Traffic, Vec<Reading>) {
    let mut known = Known::default();
    let mut observer = detect(&info("POST", "/mcp", &[])).expect("it may be");
    for piece in request {
        observer.request_body(piece);
    }
    let asked = observer.request_end(&mut known).ok();
    let asked = asked.map(|asked| asked.into_iter().map(|asked| asked.what).collect());
    observer.response_head(head);
    let mut answered = Vec::new();
    for piece in response {
        observer.response_body(piece);
        answered.extend(observer.answered(&mut known));
    }
    let traffic = observer.traffic();
    answered.extend(observer.response_end(true, &mut known));
    (asked, traffic, answered.into_iter().map(|it| it.reading).collect())
}

proptest! {
    #[test]
    fn where_the_bytes_are_cut_does_not_matter(
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        stream in any::<bool>(),
        garbage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let mut request = json!([
            tool(&json!(1), "a", &json!({"x": ["é", 1]})),
            tool(&json!(2), "b", &json!({})),
        ]).to_string().into_bytes();
        if let Some((at, byte)) = garbage {
            let at = at.index(request.len());
            request[at] = byte;
        }
        let answers = [result(&json!(2)), result(&json!(1))];
        let (kind, response) = if stream {
            (EVENTS, answers.iter().map(event).collect::<String>())
        } else {
            (JSON, json!(answers).to_string())
        };
        let head = head(200, kind);
        let whole = read(&[&request], &head, &[response.as_bytes()]);
        let bytes: Vec<_> = response.as_bytes().chunks(1).collect();
        let cut = read(&pieces(&request, &cuts), &head, &pieces(response.as_bytes(), &cuts));
        prop_assert_eq!(&cut, &whole);
        prop_assert_eq!(&read(&request.chunks(1).collect::<Vec<_>>(), &head, &bytes), &whole);
    }

    #[test]
    fn garbage_never_panics(request in "[\\[\\]{}\":,a-z0-9. ]{0,60}", response in ".{0,80}") {
        for kind in [JSON, EVENTS] {
            let _ = read(&[request.as_bytes()], &head(200, kind), &[response.as_bytes()]);
        }
    }

    #[test]
    fn key_order_and_escapes_do_not_matter(name in "[a-zé\"]{1,6}", value in any::<i32>()) {
        let escaped: Vec<_> =
            name.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let escaped = escaped.concat();
        let one = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{0},"arguments":{{{0}:{value},"b":[]}}}}}}"#,
            json!(name),
        );
        let other = format!(
            r#"{{"params":{{"arguments":{{"b":[ ],"{escaped}":{value}}},"name":"{escaped}"}},"method":"tools\/call","id":1.0,"jsonrpc":"2.0"}}"#
        );
        prop_assume!(name != "b");
        let call = |body: &str| {
            let (_, asked) = Agent::default().post("/mcp", body.as_bytes());
            let What::Tool(call) = asked.expect("a call").remove(0).what else { panic!("no tool") };
            (call.tool, call.arguments)
        };
        prop_assert_eq!(call(&one), call(&other));
    }
}
