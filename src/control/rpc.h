/* control/rpc.h - the vocabulary of commands: JSON-RPC 2.0, the same on the control socket and over
 * MQTT.
 *
 * conf/schema has all of it as JSON Schema, certflip-mqtt(7) tells of it.
 *
 * One request, or a batch (array) of at most RPC_BATCH_MAX, is one line on the control socket and
 * one message on <root>/<gateway>/cmd.  Parameters are named (an object); an unknown one is an
 * error. This header is shared with the command line tools; it needs only base.  Pure, any thread.
 *
 * TARGET: "press-12", a glob "press-*", or an array of these.  A name that matches no device is an
 * error (no-such-device); so is a glob that matches none.
 *
 * DEVICE, as in device.get, device.list and the retained topic <root>/<gateway>/device/<device>:
 *
 *   { "device": "press-12",
 *     "phase": "steady" | "staged" | "trial" | "committed" | "rolled-back",
 *     "waiting": null | "queue"      for its turn to move, or to move back ("pace" of status)
 *                     | "device"     the device is offline; the trial goes on when it connects
 *                     | "upstream"   the attempt with the new identity is under way
 *                     | "probation"  accepted; must stay healthy until "due"
 *                     | "confirm",   accepted; waits for `confirm` until "due"
 *                     | "store",     what has come to pass could not be saved; tried again
 *     "active": "old" | "new",
 *     "due": null | "2031-05-02T00:00:00Z",     end of probation, or of the time to confirm
 *     "deadline": null | ISO-TIME,              not confirmed by then, it is rolled back
 *     "begin_by": null | ISO-TIME,              not accepted by then, it is staged again
 *     "attempts": 1,                            of this trial, restarts included; 0: none yet
 *     "evidence": null                          never flipped, or staged anew
 *       | { "wanted": [ "connack", "echo", "central" ],     what the flip demands
 *           "missing": [ "central" ],                       and what of it is not proven
 *           "proven": [ PROOF, ... ],                       in this trial, or the latest one
 *           "text": null | "connack over TLSv1.3 at ..., echo in 3.14 ms at ..." },
 *     "online": true,                           a sensor is connected
 *     "slots": { "old": SLOT | null, "new": SLOT | null },      null: no files
 *     "upstream": null | { "slot": "new", "state": "accepted" | "failed" | "lost",
 *                          "since": ISO-TIME, "tls": "TLSv1.3", "fingerprint": 64 hex digits },
 *     "reason": null | "...",                   why it was rolled back
 *     "reason_remedy": null | "...",            where that was no failure: what to do about it
 *     "last_error": null | { "time": ISO-TIME, "slot": "new", "class": "identity", "name": "...",
 *                            "message": "...", "remedy": "...",
 *                            "alert": null | { "number": 48, "name": "unknown_ca" }, the broker's
 *                            "x509": null | "X509_V_ERR_..." },     how OpenSSL calls the cause
 *     "changed": null | ISO-TIME }              when the phase last changed
 *
 * BRIEF, of device.changes: { "device", "phase", "waiting", "active", "online", "due", "deadline",
 * "begin_by", "reason", "reason_remedy": as in DEVICE, "upstream": null | its state there,
 * "evidence": null | { "missing": as there }, "until": { "old": null | not_after, "new" }, "fault":
 * null | "what is wrong with the identity in use", "last_error": null | { "time", "slot", "name",
 * "message", "remedy" } }
 *
 * PROOF: { "what": "connack", "time": ISO-TIME, "tls": "TLSv1.3", "fingerprint": 64 hex digits,
 * "session_present": true }, { "what": "echo", "time": ISO-TIME, "ms": 3.14 } or { "what":
 * "central", "time": ISO-TIME, "by": "..." }.
 *
 * SLOT: { "usable": true, "fingerprint": 64 hex digits, "subject": "CN=press-12", "issuer":
 * "CN=Plant", "not_before": ISO-TIME, "not_after": ISO-TIME, "fault": null | "file: what is wrong:
 * remedy", "key": how it lies on disk: "plain" | "token" | "encrypted" | "former" (under a
 * former passphrase), "findings": [ { "code": "lint.expiring", "severity": "error" | "warning",
 * "message", "remedy" },
 * ... ] }; of a slot that cannot be read only "usable" and "fault" are there.  A new identity with
 * a "fault" that is readable is kept from being staged by an error of lint.  Of a slot whose
 * key waits for the CA: { "usable": false, "fault": null, "csr_since": ISO-TIME }.
 *
 * REPORT: { "device": "press-12", "slot": "new", "worst": "error" | "warning" | "info" | null,
 * "trusted": null: no anchors are configured | true | false, "findings": [ { "code":
 * "lint.expired", "severity", "x509": null | "X509_V_ERR_...", "depth": place in the path, 0 is the
 * leaf, null: of none, "message", "remedy" }, ... ], "fault": what is wrong with the files, when
 * they cannot be read }
 *
 * SESSION: { "device": "press-12", "session": 17, "worker": 0, "listener": "tls", "peer":
 * "192.0.2.7:51234", "client_id": "press-12", "mqtt": "3.1.1" | "3.1" | "5.0", "tls": "TLSv1.2" |
 * null, "fingerprint": 64 hex digits | null, "exception": null | "old-presses": its certificate is
 * accepted by that one, "since": ISO-TIME }
 *
 * EXCEPTION: { "name": "old-presses", "device": "press-*", "fingerprint": null | 64 hex digits,
 * "anchor": null | 64 hex digits, "accept": [ "expired", ... ], "until": "2027-06-30", "days_left":
 * 212, "in_force": true, "reason": "...", "listeners": [ "sensors" ], none: all, "sessions": 3,
 * "devices": 3, "uses": 17 since the start, "last_used": null | ISO-TIME }
 *
 * CLOCK: { "synchronised": true | false | null: the kernel does not say, "max_error_ms": 12 | null,
 * "since": ISO-TIME when that was first seen to be so, "seen": ISO-TIME of the newest thing that is
 * known to have happened, "require_sync": true, "flips": true | false: refused unless forced,
 * "text": null | "what is wrong with the clock" }
 *
 * ANCHOR: { "set": "downstream" | "upstream", "fingerprint": 64 hex digits, "kind": "anchor" |
 * "intermediate", "state": "in-force" | "not-yet-valid" | "expired" | "removed" | "unusable" |
 * "idle" (no listener or upstream is there for it), "subject": "CN=Plant", "issuer": "CN=Plant",
 * "not_before": ISO-TIME, "not_after": ISO-TIME, "files": [ "/etc/certflip/ca.pem:1" ], "serves": [
 * "tls" ], "only": null | [ "tls" ], "by": null | "local:root", "time": null | ISO-TIME, "note":
 * null | "...", "fault": null | "file: what is wrong", "devices": 3, "sessions": 2 }.  "by", "time"
 * and "note" tell of the command that added or removed it.  "devices": those that have an
 * identity of it; downstream also those whose sensor came in last by it, upstream those with a
 * broker that is believed by it.
 *
 * DEPENDENT: { "what": "sensor" | "broker" | "identity" | "last", "name": "press-12", "slot": null
 * | "new", "sessions": 1, "text": "..." }; of "last" the name is that of a listener or upstream.
 *
 * OUTCOME of a command that has a target:
 *
 *   { "done": 3, "refused": 1,
 *     "devices": [ { "device": "press-12", "ok": true, "phase": "trial", "changed": true },
 *                  { "device": "press-13", "ok": false, "phase": "steady", "error": ERROR } ] }
 *
 *   "changed" is false when the device was there already.  "devices" holds the refused ones first
 * and is cut at RPC_ROWS_MAX rows.  When every device was refused the reply is an error instead
 * (its code is that of the first device) and the same "devices" is in error.data.results.
 *
 *   Over MQTT a request that comes again with its id within seven days gets the reply of the first
 * time; "devices", or "results", of one beyond 16 KiB are not kept: they are empty, or left out.  A
 * signed request (control/signed.h) comes again when its jti does, and must have the same id.
 *
 * STATE, retained on <root>/<gateway>/state: { "online": true, "gateway", "version", "tls_library",
 * "time", "started", "devices": counts as in `status`, "trust": { "downstream": [ { "fingerprint",
 * "subject", "not_after" }, ... ], "upstream": [ ... ] } in force, "clock": { "synchronised",
 * "since", "flips" } of CLOCK, "event_seq": number of the latest event, "epoch", "events_dropped":
 * messages that were given up while the broker was away }; offline, by Will or goodbye: { "online":
 * false, "gateway", "version", "tls_library" }.
 *
 * EVENT, on <root>/<gateway>/event: { "seq": 17, "epoch": "5f3a9c0b12de", "time", "event": "flip",
 * "device", "from", "to": phases, "cause", "message", "remedy", "by", "proven" }; or, each second
 * and after each hundred devices of a command that takes its time: { "seq", "epoch", "time",
 * "event": "progress", "method", "id": of the request, "by", "done", "refused", "total": devices }.
 * More kinds may come.  "seq" goes up by one from event to event, over restarts; with another
 * "epoch" the count has begun anew.  Whoever sees a number left out, or has not seen the state's
 * "event_seq", has missed something, and finds what is true in the retained topics.
 *
 * ERROR: { "code": -32003, "name": "phase", "message": "...", "remedy": "..." }.  As the reply's
 *   "error" it is standard JSON-RPC: { "code", "message", "data": { "name", "remedy", "results"? }
 * }.
 */
#ifndef CONTROL_RPC_H
#define CONTROL_RPC_H

#include <stdbool.h>
#include <stddef.h>

#define RPC_LINE_MAX          1048576 /* bytes of one request or batch */
#define RPC_BATCH_MAX         100
#define RPC_ROWS_MAX          1000
#define RPC_KEYGEN_MAX        100 /* devices of one identity.keygen: their requests fit into a reply */
#define RPC_BATCH_REPLIES_MAX 4194304 /* bytes, 4 MiB; the rest of a batch is refused then */
#define RPC_CENTRAL_REPLY_MAX 262144  /* bytes of a reply over MQTT */
#define RPC_ID_MAX            128     /* bytes of an id */
#define RPC_REKEY_MAX         50      /* devices of one keys.rekey: each waits for the disk */
#define RPC_PEM_MAX           262144  /* bytes of a parameter that holds certificates */

enum rpc_access {
    RPC_OBSERVE, /* reads only */
    RPC_OPERATE, /* changes something: audited, and done once per request id */
    RPC_TRUST,   /* the same, of keys, certificates and what they are believed by */
};

/* One row for each method: enumerator, name, who may, parameters as shown by help, help. */
/* clang-format off */
#define RPC_METHODS(X)                                                                                                 \
    /* {} -> { "gateway", "version", "tls_library", "pid", "now", "started", "uptime_s", "config", "workers",          \
     *   "devices": { "total", "online", "steady", "staged", "trial", "committed", "rolled_back", "queued", "faulty" },\
     *   "pace": { "waiting", "moving", "window": so many at once now, "paused": true in an outage },                  \
     *   "trust": { "downstream": SUM, "upstream": SUM }, SUM: { "anchors": in force, "expired", "removed",            \
     *     "unusable", "soonest": null | { "fingerprint", "subject", "not_after" } },                                  \
     *   "central": { "enabled", "device", "connected", "since", "last_error", "signed": { "operators": so many,       \
     *     "policy": { "observe", "operate", "trust": "off" | "optional" | "required" }, "good": commands,             \
     *     "refused": { "expired": 3, ... } } },                                                                       \
     *   "clock": CLOCK, "exceptions": [ EXCEPTION, ... ],                                                             \
     *   "old_tls": [ { "listener", "tls_min": "1.0" | "1.1" } ],                                                      \
     *   "crls": { "lists", "stale", "due": of these, "next_update": the soonest, ISO-TIME | null, "issuer": of that   \
     *     one, "missing": [ { "kind": "listener" | "upstream", "name", "anchor", "fingerprint" }, ... ]: by           \
     *     crl_policy strict there nobody of the anchor is believed, as it has no list },                              \
     *     "since": of the connection, or of its loss; "faulty": devices with an identity that cannot be used          \
     *   "counters": { every member of struct worker_stats, summed, "age_ms" },                                        \
     *   "tokens": [ { "name", "state": "untried" | "ready" | "absent" | "no-module" | "no-login" | "failed" |         \
     *     "silent", "label", "serial", "model", "message": of its trouble, "operations", "failures", "us_sum",        \
     *     "us_max": microseconds } ],                                                                                 \
     *   "refused": { "unknown-device": 3, ... }, "messages": [ "what is wrong now", ... ] } */                        \
    X(RPC_STATUS,           "status",           RPC_OBSERVE, "",                      "the gateway in one object")     \
    /* {target?, after?, limit?} -> { "devices": [ DEVICE, ... ], "total": 4711, "next": "name" | null }; sorted by    \
     *   name; pass "next" as "after" for the following page; limit 1..RPC_ROWS_MAX, default RPC_ROWS_MAX */           \
    X(RPC_DEVICE_LIST,      "device.list",      RPC_OBSERVE, "[target] [after] [limit]", "devices, a page at a time")  \
    /* {device} -> DEVICE and "sessions": [ SESSION, ... ] */                                                          \
    X(RPC_DEVICE_GET,       "device.get",       RPC_OBSERVE, "device",                "all about one device")          \
    /* {epoch?, after?: as the answer before had them, limit?} -> { "epoch", "after", "anew": true: what was known before  \
     *   does not count, "more": true: ask on at once, "devices": [ BRIEF, ... ] that look otherwise than at "after",     \
     *   "total" }; limit 1..RPC_ROWS_MAX, default RPC_ROWS_MAX */                                                        \
    X(RPC_DEVICE_CHANGES,   "device.changes",   RPC_OBSERVE, "[epoch] [after] [limit]", "devices in brief, and then those that have changed") \
    /* {target, probation_s?, confirm?: "auto" | "central", confirm_s?, evidence?: "connack" | "echo",                 \
     *   not_after_s?: wall clock, seconds since 1970, force?: true: whatever lint says of it, or the clock}                               \
     *   -> OUTCOME.  The reply comes when the intent is durable; follow the trial with device.get. */                 \
    X(RPC_FLIP,             "flip",             RPC_OPERATE,                                                           \
      "target [probation_s] [confirm] [confirm_s] [evidence] [not_after_s] [force]", "try the new identity, roll back if it fails") \
    /* {target, slot?: "old" | "new", at_s?: wall clock, after?, limit?} -> { "reports": [ REPORT, ... ],              \
     *   "next": "name" | null }; sorted by name; pass "next" as "after" for what follows; limit 1..RPC_ROWS_MAX / 2, of devices */ \
    X(RPC_IDENTITY_LINT,    "identity.lint",    RPC_OBSERVE, "target [slot] [at_s] [after] [limit]",                   \
                                                             "what is wrong with the identities of devices")           \
    /* {target, reason?} -> OUTCOME */                                                                                 \
    X(RPC_ROLLBACK,         "rollback",         RPC_OPERATE, "target [reason]",       "back to the old identity")      \
    /* {target, fingerprint} or {target, fingerprints: {device: fp}} -> OUTCOME: the far side saw this certificate */  \
    X(RPC_CONFIRM,          "confirm",          RPC_OPERATE, "target [fingerprint] [fingerprints]",                    \
                                                             "the far side saw the new certificate: ends the trial")   \
    /* {target} -> OUTCOME */                                                                                          \
    X(RPC_COMMIT,           "commit",           RPC_OPERATE, "target",                "end a trial now, it is good")   \
    /* {target} -> OUTCOME */                                                                                          \
    X(RPC_QUARANTINE_CLEAR, "quarantine.clear", RPC_OPERATE, "target",                                                 \
                                                   "the cause of a rollback is mended: the new identity may be tried") \
    /* {target: RPC_KEYGEN_MAX devices at most, key?: "ec-p256" | "ec-p384" | "rsa-2048" | "rsa-3072" | "rsa-4096",     \
     *   subject?, sans?: [ "DNS:...", ... ] (templates, instead of those of the configuration),                       \
     *   token?: name of a token in which the key is made, "": in a file (instead of what the configuration says),     \
     *   renew?: true: another key, though one waits for its certificate}                                              \
     *   -> OUTCOME; each of "devices" that is ok has "key": its kind, and "csr": PKCS#10 in PEM.  The key is in the   \
     *   new slot and stays there.  "changed" is false where one waited already: it is the same request. */            \
    X(RPC_IDENTITY_KEYGEN,  "identity.keygen",  RPC_TRUST,   "target [key] [token] [subject] [sans] [renew]",          \
                                                "make a key in the new slot, and the request for its certificate")     \
    /* {device, chain: PEM, the certificate and its issuers in any order}                                              \
     *   -> { "device", "phase", "changed", "slot": SLOT }: it is staged */                                            \
    X(RPC_IDENTITY_INSTALL, "identity.install", RPC_TRUST,   "device chain", "put the certificate of the key in the new slot") \
    /* {target} -> OUTCOME: the new slot is empty then, also of a key that waits */                                    \
    X(RPC_IDENTITY_DISCARD, "identity.discard", RPC_TRUST,   "target",                "destroy what is in the new slot") \
    /* {target} -> OUTCOME: the old identity is archived, the new one takes its place; sessions stay where they are */ \
    X(RPC_RETIRE,           "retire",           RPC_TRUST,   "target",                "archive the old identity of committed devices") \
    /* {device, what: "csr" | "cert", slot?: "old" | "new", default "new"}                                             \
     *   -> { "device", "slot", "what", "pem" }; never a key */                                                        \
    X(RPC_IDENTITY_EXPORT,  "identity.export",  RPC_OBSERVE, "device what [slot]",    "a request or a certificate, as PEM") \
    /* {device, chain: PEM, key: PEM, slot?: "old" | "new", replace?, dry_run?} -> { "device", "slot", "result":           \
     *   "imported" | "same", "dry_run", "phase": null | "staged", "fingerprint", "subject", "not_after", "lint": REPORT }. \
     *   Over the control socket only; without "slot" into the old one when that is empty, else into the new one.      \
     *   An error of lint refuses what is for the new slot, with the REPORT in the error's data as "lint".  Nothing    \
     *   was done when the state cannot be saved; but an identity that is in the old slot then is in use. */          \
    X(RPC_IDENTITY_IMPORT,  "identity.import",  RPC_TRUST,   "device chain key [slot] [replace] [dry_run]",             \
                                                             "take an identity that was made elsewhere")      \
    /* {target} -> OUTCOME; RPC_REKEY_MAX devices at most */                                                          \
    X(RPC_KEYS_REKEY,       "keys.rekey",       RPC_TRUST,   "target",                                                  \
                                                             "write private keys on disk anew, encrypted or not as configured") \
    /* {} -> { "changed_devices": 3, "new_devices": 1, "gone_devices": 0,                                                \
     *   "faulty_devices": so many have an identity that cannot be used, "restart_needed": [ "workers: 2 -> 4" ] };   \
     *   a bad file changes nothing: error "config" with data.faults: [ "file:line: key: ...", ... ] */                \
    X(RPC_CONFIG_RELOAD,    "config.reload",    RPC_OPERATE, "",                      "read configuration and identities again") \
    /* {crl: PEM, or DER in base64} or, at the gateway, {file: absolute path}, {force?: in the place of a newer one, too}  \
     *   -> CRL and "changed": false when it is the one in force.  Kept in the state directory before it is used;      \
     *   certificates of intermediate CAs may stand beside it, in PEM */                                               \
    X(RPC_CRL_UPDATE,       "crl.update",       RPC_TRUST,   "[crl] [file] [force]",  "take a CA's list of revoked certificates") \
    /* {} -> { "crls": [ CRL, ... ] }; CRL: { "issuer", "number": hex digits | null, "this_update", "next_update":     \
     *   ISO-TIME | null, "entries", "file", "fingerprint", "state": "current" | "due" | "stale", "used_by": [         \
     *   { "kind": "listener" | "upstream", "name" }, ... ] } */                                                       \
    X(RPC_CRL_LIST,         "crl.list",         RPC_OBSERVE, "",                      "lists of revoked certificates in force") \
    /* {} -> { "levels": { "daemon": "info", ... }, "configured": the same, as the configuration has it };             \
     *   {subsystem: name or "*", level: "debug" ... or "default": as configured} sets and answers the same */         \
    X(RPC_LOG_LEVEL,        "log.level",        RPC_OPERATE, "[subsystem level]",     "show or set what is logged")    \
    /* {after?: seq, limit?: 1..RPC_ROWS_MAX, default 100, device?: name or glob, event?, subsystem?: globs, level?: that urgent or \
     *   more, grep?: text that occurs, since_s?: wall clock} -> { "lines": [ LINE, ... ], "last": seq of the last line   \
     *   that was looked at: pass it as "after" for what follows; "first": the oldest that is kept, "pid", "target":      \
     *   "journal" | "stderr", "lost": lines that could not be written, "missed": that are not among these }.  Without    \
     *   "after" the newest.  LINE: { "seq", "time", "level", "subsystem", "event", "fields": { "device": "press-12",     \
     *   ... } }, all of them texts */                                                                                   \
    X(RPC_LOG_RECENT,       "log.recent",       RPC_OBSERVE,                                                           \
      "[after] [limit] [device] [event] [subsystem] [level] [grep] [since_s]", "the latest lines of the log, from memory") \
    /* {set?: "downstream" | "upstream"} -> { "anchors": [ ANCHOR, ... ] } */                                          \
    X(RPC_TRUST_LIST,       "trust.list",       RPC_OBSERVE, "[set]",                 "who is believed, and what depends on it") \
    /* {set, pem: one certificate or several, note?, intermediate?, only?: names, force?: weak ones, too}              \
     *   -> { "set", "changed": 1, "anchors": [ { "fingerprint", "subject", "not_after", "changed": true } ] } */      \
    X(RPC_TRUST_ADD,        "trust.add",        RPC_TRUST,   "set pem [note] [intermediate] [only] [force]",           \
                                                             "believe a CA from now on")                               \
    /* {set, fingerprint} -> { "set", "fingerprint", "subject", "breaks": 3, "dependents": [ DEPENDENT, ... ] } */     \
    X(RPC_TRUST_CHECK,      "trust.check",      RPC_OBSERVE, "set fingerprint",       "what would break without an anchor") \
    /* {set, fingerprint, force?, note?} -> { "set", "fingerprint", "subject", "changed": true, "archived": path |     \
     *   null, "files": [ where it stands still ], "broken": 0 }; while something depends on it: error "in-use" with   \
     *   data.dependents: [ DEPENDENT, ... ], unless force is true */                                                  \
    X(RPC_TRUST_REMOVE,     "trust.remove",     RPC_TRUST,   "set fingerprint [force] [note]",                         \
                                                             "do not believe a CA any more, wherever it stands")       \
    /* {after?: seq, limit?}; without "after" the newest -> { "entries": [ { "seq", "time", "who", "what", "target", "outcome" } ],                \
     *   "next": seq | null } */                                                                                       \
    X(RPC_AUDIT_LIST,       "audit.list",       RPC_OBSERVE, "[after] [limit]",       "who commanded what, and what came of it") \
    /* {target?, limit?} -> { "sessions": [ SESSION, ... ], "total": n } */                                            \
    X(RPC_SESSIONS_LIST,    "sessions.list",    RPC_OBSERVE, "[target] [limit]",      "sensors that are connected")    \
    /* {} -> { "methods": [ { "method", "params", "access", "help" } ] } */                                            \
    X(RPC_HELP,             "help",             RPC_OBSERVE, "",                      "these methods")

/* One row for each error: enumerator, code, stable name. */
#define RPC_ERRORS(X)                                                                                     \
    X(RPC_PARSE,           -32700, "parse")            /* not JSON */                                      \
    X(RPC_INVALID_REQUEST, -32600, "invalid-request")  /* JSON, but no request */                          \
    X(RPC_NO_METHOD,       -32601, "no-such-method")                                                       \
    X(RPC_INVALID_PARAMS,  -32602, "invalid-params")   /* the message names the parameter */               \
    X(RPC_INTERNAL,        -32603, "internal")                                                             \
    X(RPC_DENIED,          -32001, "denied")           /* this peer may not */                             \
    X(RPC_NO_DEVICE,       -32002, "no-such-device")                                                       \
    X(RPC_PHASE,           -32003, "phase")            /* has no meaning in the device's phase */          \
    X(RPC_NO_IDENTITY,     -32004, "no-identity")      /* the slot is empty or unusable: says which file */ \
    X(RPC_QUARANTINED,     -32005, "quarantined")      /* it was rolled back; the cause is not cleared */  \
    X(RPC_FINGERPRINT,     -32006, "fingerprint")      /* another certificate than the one under trial */  \
    X(RPC_CONFIG,          -32007, "config")           /* the configuration has faults: data.faults */     \
    X(RPC_STORE,           -32008, "store")            /* could not be made durable: nothing was done */   \
    X(RPC_BUSY,            -32009, "busy")             /* at a limit; later it may work */                 \
    X(RPC_TOO_BIG,         -32010, "too-big")          /* beyond RPC_LINE_MAX, RPC_BATCH_MAX, or the replies beyond a limit */        \
    X(RPC_ID_REUSED,       -32011, "id-reused")        /* the id was used for another request */           \
    X(RPC_TOO_LATE,        -32012, "too-late")         /* not_after_s has passed */                        \
    X(RPC_CLOCK,           -32013, "clock")            /* not synchronised, or wrong: `force` goes on */ \
    X(RPC_UNSIGNED,        -32030, "unsigned")         /* this gateway wants it signed by an operator */         \
    X(RPC_SIGNATURE,       -32031, "signature")        /* no good signature of an operator of this gateway */    \
    X(RPC_EXPIRED,         -32032, "expired")          /* signed, and exp has passed */                          \
    X(RPC_NOT_YET,         -32033, "not-yet")          /* signed, and nbf or iat is to come */                   \
    X(RPC_EXPIRY_TOO_FAR,  -32034, "expiry-too-far")   /* signed for longer than is allowed */                   \
    X(RPC_WRONG_GATEWAY,   -32035, "wrong-gateway")    /* signed, for another gateway */                         \
    X(RPC_NOT_AUTHORISED,  -32036, "not-authorised")   /* signed by an operator without the role */              \
    X(RPC_LINT,            -32014, "lint")             /* a peer would refuse the new identity: says why; `force` overrides */ \
    X(RPC_ANCHOR,          -32040, "anchor")           /* cannot be one, or is not there: says why */      \
    X(RPC_IN_USE,          -32041, "in-use")           /* something depends on it: data.dependents */
/* clang-format on */

#define RPC_ENUM(id, name, access, params, help) id##_METHOD,
enum rpc_method { RPC_METHODS(RPC_ENUM) RPC_METHOD_COUNT };
#undef RPC_ENUM

#define RPC_ENUM(id, code, name) id = (code),
enum rpc_code { RPC_OK = 0, RPC_ERRORS(RPC_ENUM) };
#undef RPC_ENUM

const char *rpc_method_name(enum rpc_method m);
const char *rpc_method_params(enum rpc_method m);
const char *rpc_access_name(enum rpc_access access); /* "observe" */
const char *rpc_method_help(enum rpc_method m);
enum rpc_access rpc_method_access(enum rpc_method m);
/* Returns the method, or -1 when there is none of this name. */
int rpc_method_find(const char *name);

/* "phase" of -32003; "unknown" of a code that is not ours. */
const char *rpc_error_name(int code);

#endif
