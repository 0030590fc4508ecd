"""The `/v2/keys` dialect as a table of cases, each proven by a foreign judge.

`cases/*.txt` hold what is asked and what must come back; `table.py` reads them, `judge.py` plays them. Every case runs
against real etcd as well as against this node, so a wrong expectation fails before it can mislead. Where the two are
meant to differ, the case says what each answers and why.

The form of a case:

    ## set: replaces the value                      a title, unique in its file
    # why: ...                                      any remark; required where the servers differ
    PUT ~/a value=1&ttl=5                           method, target, form body; `~` is the case's own directory
        < Content-Type: text/plain                  a request header (default: the form's content type)
        201 set                                     status and action, then the nodes as JSON
            node {"key":"~/a","value":"1","modifiedIndex":{+1},"createdIndex":{+1}}
        X-Etcd-Index: {+1}                          a response header: a value, `<number>`, or `-` for absent
    GET ~/b
        404 error 100 "~/b" {+1}                    error code, cause (JSON or `-`) and index
    w = GET ~/a?wait=true                           opens a watch and leaves it open; its head is checked like any
        200
    w gives delete                                  the next event of that watch
        node {...}
    w ends                                          the response body is complete

`etcd: ` or `corenode: ` before an answer says what only that server answers, before a step that only it is asked.

`{+n}` is the index at the start of the case plus n; `{+n:020}` is the same with format 020; `{url}` is where the server
listens. In JSON, `"<time>"` is any RFC 3339 time in UTC, `"<hex>"` an id, `"<5..6>"` a number between the two, and
`"<list>"` a list of strings. `json VALUE`, `text WORDS`, `raw JSON-STRING`, `empty`
and `*` (any) stand for a body of that kind in place of an action. Children of a directory are compared as a set
unless the request asks for `sorted=true`.
"""
