/* store/db.h - the database under the store: connection, statements, what SQLite's errors mean.
 *
 * For the files of src/store alone: it is the one header that includes SQLite's.  Main thread only.
 */
#ifndef STORE_DB_H
#define STORE_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"

/* clang-format off */
/* In the order in which devices.c writes and reads them. */
#define DB_DEVICE_COLUMNS                                                                          \
    "name, phase, confirm, max_attempts, probation_ms, confirm_ms, begin_by_ms, attempts,"         \
    " accepted, due_ms, dead_ms, begin_by_s, old_fp, new_fp, reason, changed_s,"                   \
    " evidence, proven, boot, saved_s, dead_left_ms, proof_what, proof_connack_s, proof_echo_s,"   \
    " proof_central_s, proof_echo_us, proof_session_present, proof_tls, proof_fp, proof_by,"  \
    " refused"

/* In the order in which trust.c writes and reads them. */
#define DB_TRUST_COLUMNS "\"set\", fp, kind, only, note, who, time_s"

/* Each statement that is kept prepared: when it does not fit the schema, opening fails. */
#define DB_STATEMENTS(X)                                                                           \
    X(DB_BEGIN,          "BEGIN IMMEDIATE")                                                        \
    X(DB_COMMIT,         "COMMIT")                                                                 \
    X(DB_ROLLBACK,       "ROLLBACK")                                                               \
    X(DB_SAVEPOINT,      "SAVEPOINT part")                                                         \
    X(DB_RELEASE,        "RELEASE part")                                                           \
    X(DB_ROLLBACK_TO,    "ROLLBACK TO part")                                                       \
    X(DB_DEVICE_GET,     "SELECT " DB_DEVICE_COLUMNS " FROM devices WHERE name = ?1")              \
    X(DB_DEVICE_PUT,     "REPLACE INTO devices (" DB_DEVICE_COLUMNS ")"                            \
                         " VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)") \
    X(DB_DEVICE_DEL,     "DELETE FROM devices WHERE name = ?1")                                    \
    X(DB_COMMAND_GET,    "SELECT reply FROM commands WHERE id = ?1 AND time_s >= ?2")              \
    X(DB_COMMAND_PUT,    "INSERT INTO commands (id, time_s, reply) VALUES (?1, ?2, ?3)"            \
                         " ON CONFLICT (id) DO UPDATE SET time_s = ?2, reply = ?3")                \
    X(DB_COMMAND_NEWEST, "SELECT max(time_s) FROM commands")                                       \
    X(DB_COMMAND_FORGET, "DELETE FROM commands"                                                    \
                         " WHERE (seq <= (SELECT max(seq) FROM commands) - ?1"                     \
                         " AND (id NOT GLOB '" STORE_COMMAND_SIGNED "*' OR time_s < ?3))"          \
                         " OR (seq IN (SELECT seq FROM commands ORDER BY seq LIMIT 4)"             \
                         " AND time_s < ?2)")                                                      \
    X(DB_AUDIT_ADD,      "INSERT INTO audit (time_s, who, what, target, outcome)"                  \
                         " VALUES (?1, ?2, ?3, ?4, ?5)")                                           \
    X(DB_TRUST_PUT,      "REPLACE INTO trust (" DB_TRUST_COLUMNS ") VALUES (?,?,?,?,?,?,?)")       \
    X(DB_SENSOR_PUT,     "REPLACE INTO sensors (device, anchor) VALUES (?1, ?2)")                  \
    X(DB_VALUE_GET,      "SELECT value FROM \"values\" WHERE key = ?1")                            \
    X(DB_VALUE_PUT,      "INSERT INTO \"values\" (key, value) VALUES (?1, ?2)"                     \
                         " ON CONFLICT (key) DO UPDATE SET value = ?2")

#define DB_ENUM(id, sql) id,
enum db_statement { DB_STATEMENTS(DB_ENUM) DB_STATEMENT_COUNT };
#undef DB_ENUM
/* clang-format on */

struct store {
    sqlite3 *db;                                 /* owned */
    sqlite3_stmt *statement[DB_STATEMENT_COUNT]; /* owned */
    char *dir, *path;                            /* owned; the folder, and the database in it */
    int lock_fd;                                 /* holds the lock of the folder; -1: none */
    bool in_group;                               /* between store_begin and its end */
    int64_t commands_clock_s;                    /* of commands.c, when ... */
    int64_t commands_clock_ms; /* ... CLOCK_BOOTTIME was this; 0: not looked up yet */
    bool doubtful;             /* the latest commit failed: it may be on the disk */
};

/* Say in `err` what SQLite's result `rc` means for an operator, and what to do.
 * Returns -ERR_STORE, or -ERR_NOMEM. */
int db_fail(const struct store *s, int rc, struct err *err);

/* The statement, ready to be bound.  Borrowed until db_done. */
sqlite3_stmt *db_statement(struct store *s, enum db_statement id);

/* Bind in the order of the parameters; a failure shows in the step that follows.  `*at` counts on.
 * The text is borrowed until db_done. */
void db_bind_text(sqlite3_stmt *st, int *at, const char *text);
void db_bind_int(sqlite3_stmt *st, int *at, int64_t v);

/* Copy a text column into `out`, cut at its size; NULL gives "". */
void db_column_text(sqlite3_stmt *st, int column, char *out, size_t size);

/* Release a statement's row and what is bound to it. */
void db_done(sqlite3_stmt *st);

/* Run a write to its end and release it.  A write within a group that SQLite has ended is refused.
 */
int db_write(struct store *s, sqlite3_stmt *st, struct err *err);

/* Some writes as one: a transaction, or a part of the group that is open.  `rc` is how they went;
 * all of them are undone unless it is 0.  db_leave returns rc, or what ending them said. */
int db_enter(struct store *s, struct err *err);
int db_leave(struct store *s, int rc, struct err *err);

#endif
