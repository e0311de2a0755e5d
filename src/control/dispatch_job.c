/* control/dispatch_job.c - work that takes long: see dispatch_inside.h.
 *
 * One piece at a time is with a thread.  A piece outlives its call when the dispatcher is stopped:
 * then it has no call any more, and nothing comes of it.
 */
#include <stdlib.h>

#include "control/dispatch_inside.h"

struct job {
    uv_work_t req;
    struct list link;   /* in the dispatcher's jobs; alone when it was stopped */
    struct dispatch *d; /* borrowed; NULL: stopped */
    struct call *call;  /* borrowed; NULL: nobody waits */
    job_work_fn *work;
    job_done_fn *done;
    void *arg;
};

static void jobs_next(struct dispatch *d);

static void on_work(uv_work_t *req)
{
    struct job *j = req->data;

    j->work(j->arg);
}

/* Takes j. */
static void job_end(struct job *j)
{
    struct dispatch *d = j->d;

    list_del(&j->link);
    if (d != NULL)
        jobs_next(d);
    j->done(j->call, j->arg);
    free(j);
}

static void on_worked(uv_work_t *req, int status)
{
    (void)status;
    job_end(req->data);
}

static void jobs_next(struct dispatch *d)
{
    struct job *j;

    if (list_empty(&d->jobs))
        return;
    j = list_entry(d->jobs.next, struct job, link);
    uv_queue_work(d->loop, &j->req, on_work, on_worked); /* fails only without a function */
}

int call_later(struct call *c, job_work_fn *work, job_done_fn *done, void *arg)
{
    struct job *j = calloc(1, sizeof(*j));
    bool first = list_empty(&c->d->jobs);

    if (j == NULL)
        return rpc_refuse(&c->fault, RPC_BUSY, "try again", "out of memory");
    j->req.data = j;
    j->d = c->d;
    j->call = c;
    j->work = work;
    j->done = done;
    j->arg = arg;
    c->later = true;
    list_init(&j->link);
    list_add(&c->d->jobs, &j->link);
    if (first)
        jobs_next(c->d);
    return 0;
}

void jobs_stop(struct dispatch *d)
{
    bool begun = true; /* the first one is with its thread */

    list_for_each_safe (it, &d->jobs) {
        struct job *j = list_entry(it, struct job, link);

        list_del(&j->link);
        j->d = NULL;
        j->call = NULL;
        if (!begun)
            job_end(j);
        begun = false;
    }
}
