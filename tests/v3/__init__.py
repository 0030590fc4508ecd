"""The v3 dialect: every path asked of this node and of real etcd, crossings with v2, bad input.

`cases/*.txt` hold stories of requests; `table.py` reads them, `compare.py` plays each against etcd's own JSON gateway
and against this node and compares the answers: status, error code, and all of the body. Numbers that are each server's
own (revisions, ids, terms) are replaced by names in the order in which they first appear in the story, so which of them
are equal is compared, and not what they are.

The form of a case:

    ## put: shows what it replaced             a title, unique in its file
    kv/put {"key":"b:a","value":"b:1"}         path below /v3/ and body; `b:text` stands for its base64
    kv/range {"key":"b:a","revision":"$r1"}    `$r1` is the first revision that appeared on that server
    raw kv/put "{"                             the body is what the JSON string holds
    GET kv/put                                 another method, no body
    v3beta/kv/put {}                           under another prefix
    admin auth/user/list                       on this node over its unix socket
    t = auth/authenticate {...}                keeps the token of the answer
    t> kv/range {"key":"b:a"}                  shows that token; of a name never kept, the name itself

Below a request, indented, where the servers are meant to differ: what this node answers, and why.

        differs 400 3: ids are positive        status and error code; the answers must differ
        differs 200: ...                       status
        about: dbSize hash                     fields of which only the presence is compared
                                               (below the title: in all of the case)
"""
