/* fleet/run.h - the commands that plan a campaign and carry it out.
 *
 * run and resume go on until the campaign is done, halts, is paused or aborted; SIGINT and SIGTERM
 * stop them at the next step, and nothing is lost: resume (or run) goes on from there.  The others
 * act by themselves when nobody runs the campaign; else they leave their wish in the ledger, which
 * the one who does takes within a second, and wait for what comes of it.  Block; main thread.
 */
#ifndef FLEET_RUN_H
#define FLEET_RUN_H

#include "fleet/command.h"

struct campaign;

fleet_command_fn run_plan, run_run, run_resume, run_pause, run_abort, run_rollback, run_skip;

/* Read the campaign file that the command line names, with these of its files (enum
 * campaign_files).  Returns owned; or NULL, when its faults were written to c->err:
 * FLEET_STATUS_USAGE. */
struct campaign *run_campaign(const struct fleet_command *c, unsigned files, struct err *err);

#endif
