/* fleet/ledger_inside.h - the database under the ledger: connection, statements, what SQLite's
 * errors mean.
 *
 * For ledger.c and ledger_rows.c alone: it is the one header of this folder that includes SQLite's.
 */
#ifndef FLEET_LEDGER_INSIDE_H
#define FLEET_LEDGER_INSIDE_H

#include <sqlite3.h>

#include "fleet/ledger.h"

/* clang-format off */
/* Each in the order in which ledger_rows.c writes and reads them. */
#define LEDGER_CAMPAIGN_COLUMNS                                                                    \
    "name, phase, mode, wave, waves, started_s, changed_s, wave_begun_s, soak_until_s, ended_s,"   \
    " reason, \"by\", plan, back_from, back_to, requests"
#define LEDGER_GATEWAY_COLUMNS "name, step, changed_s, trouble"
#define LEDGER_DEVICE_COLUMNS                                                                      \
    "gateway, name, wave, step, attempts, old_fp, new_fp, new_until_s, old_until_s, flip_s,"       \
    " migrated_s, changed_s, failure, reason, remedy, renew"
#define LEDGER_REQUEST_COLUMNS "id, gateway, state, sent_s, method, params, reply"

/* Each statement that is kept prepared: when it does not fit the schema, opening fails. */
#define LEDGER_STATEMENTS(X)                                                                       \
    X(LEDGER_BEGIN,        "BEGIN IMMEDIATE")                                                      \
    X(LEDGER_BEGIN_READ,   "BEGIN DEFERRED")                                                       \
    X(LEDGER_COMMIT,       "COMMIT")                                                               \
    X(LEDGER_ROLLBACK,     "ROLLBACK")                                                             \
    X(LEDGER_VERSION,      "PRAGMA data_version")                                                  \
    X(LEDGER_CAMPAIGN_GET, "SELECT " LEDGER_CAMPAIGN_COLUMNS " FROM campaign")                     \
    X(LEDGER_CAMPAIGN_PUT, "REPLACE INTO campaign (id, " LEDGER_CAMPAIGN_COLUMNS ")"               \
                           " VALUES (1,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")                          \
    X(LEDGER_GATEWAY_PUT,  "REPLACE INTO gateways (" LEDGER_GATEWAY_COLUMNS ") VALUES (?,?,?,?)")  \
    X(LEDGER_GATEWAY_GET,  "SELECT " LEDGER_GATEWAY_COLUMNS " FROM gateways WHERE name = ?1")      \
    X(LEDGER_GATEWAY_EACH, "SELECT " LEDGER_GATEWAY_COLUMNS " FROM gateways ORDER BY name")        \
    X(LEDGER_DEVICE_PUT,   "INSERT INTO devices (" LEDGER_DEVICE_COLUMNS ")"                       \
                           " VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16)"      \
                           " ON CONFLICT (gateway, name) DO UPDATE SET wave = ?3, step = ?4,"      \
                           " attempts = ?5, old_fp = ?6, new_fp = ?7, new_until_s = ?8,"           \
                           " old_until_s = iif(?9 = 0, old_until_s, ?9), flip_s = ?10,"            \
                           " migrated_s = ?11, changed_s = ?12, failure = ?13, reason = ?14,"      \
                           " remedy = ?15, renew = ?16")                                           \
    X(LEDGER_DEVICE_GET,   "SELECT " LEDGER_DEVICE_COLUMNS " FROM devices"                         \
                           " WHERE gateway = ?1 AND name = ?2")                                    \
    X(LEDGER_DEVICE_EACH,  "SELECT " LEDGER_DEVICE_COLUMNS " FROM devices"                         \
                           " ORDER BY wave, gateway, name")                                        \
    X(LEDGER_TALLY_EACH,   "SELECT gateway, wave, step, count(*) FROM devices GROUP BY 1, 2, 3")   \
    X(LEDGER_PEM_GET,      "SELECT csr, chain FROM pems WHERE gateway = ?1 AND device = ?2")       \
    X(LEDGER_PEM_PUT,      "INSERT INTO pems (gateway, device, csr, chain) VALUES (?1,?2,?3,?4)"   \
                           " ON CONFLICT (gateway, device) DO UPDATE"                              \
                           " SET csr = coalesce(?3, csr), chain = coalesce(?4, chain)")            \
    X(LEDGER_REQUEST_PUT,  "INSERT INTO requests (" LEDGER_REQUEST_COLUMNS ")"                     \
                           " VALUES (?1,?2,?3,?4,?5,?6,?7) ON CONFLICT (id) DO UPDATE SET"         \
                           " gateway = ?2, state = ?3, sent_s = ?4, method = ?5, params = ?6,"     \
                           " reply = ?7")                                                          \
    X(LEDGER_REQUEST_EACH, "SELECT " LEDGER_REQUEST_COLUMNS " FROM requests"                       \
                           " WHERE seq <= (SELECT max(seq) FROM requests) ORDER BY seq")           \
    X(LEDGER_REQUEST_DEL,  "DELETE FROM requests WHERE id = ?1")                                   \
    X(LEDGER_WISH_PUT,     "INSERT INTO wishes (time_s, who, wish) VALUES (?1,?2,?3)")             \
    X(LEDGER_WISH_EACH,    "SELECT seq, who, wish FROM wishes"                                     \
                           " WHERE seq <= (SELECT max(seq) FROM wishes) ORDER BY seq")             \
    X(LEDGER_WISH_DEL,     "DELETE FROM wishes WHERE seq = ?1")                                    \
    X(LEDGER_NOTE_ADD,     "INSERT INTO notes (time_s, what, gateway, device, text)"               \
                           " VALUES (?1,?2,?3,?4,?5)")                                             \
    X(LEDGER_NOTE_EACH,    "SELECT seq, time_s, what, gateway, device, text FROM notes"            \
                           " WHERE seq > ?1 AND seq <= (SELECT max(seq) FROM notes) ORDER BY seq")

#define LEDGER_ENUM(id, sql) id,
enum ledger_statement { LEDGER_STATEMENTS(LEDGER_ENUM) LEDGER_STATEMENT_COUNT };
#undef LEDGER_ENUM
/* clang-format on */

struct ledger {
    sqlite3 *db;                                     /* owned */
    sqlite3_stmt *statement[LEDGER_STATEMENT_COUNT]; /* owned */
    char *path, *dir; /* owned; the file as it is really called, and its folder */
    int lock_fd;      /* of FILE.lock; -1: not open yet */
    bool owned;       /* this process runs the campaign */
    bool in_group;    /* between ledger_begin and its end */
};

/* Say in `err` what SQLite's result `rc` means for an operator, and what to do.
 * Returns -ERR_STORE, or -ERR_NOMEM. */
int ledger_fail(const struct ledger *l, int rc, struct err *err);
int ledger_fail_corrupt(const struct ledger *l, const char *what, struct err *err);

/* Run a write to its end and release it: by who owns the campaign, or (`any`) by anybody.  A write
 * within a group that SQLite has ended is refused. */
int ledger_write(struct ledger *l, sqlite3_stmt *st, struct err *err);
int ledger_write_any(struct ledger *l, sqlite3_stmt *st, struct err *err);

/* Release a statement's row and what is bound to it. */
void ledger_done(sqlite3_stmt *st);

#endif
