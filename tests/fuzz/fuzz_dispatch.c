/* The dispatcher of commands: bytes are served as what came over the socket of an observer, and as
 * what came over the broker, to a hub with a store, whose devices are in every phase.  Whatever
 * comes in, each request gets one reply that is one, and the hub goes on. */
#include "test_control_world.h"

#include <ftw.h>
#include <jansson.h>

#include "base/log.h"
#include "control/jsonrpc.h"

#define RUNS_OF_A_WORLD 2000 /* then it is made anew: what is remembered and audited adds up */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int fsync(int fd);
int fdatasync(int fd);

static const struct caller observer = {.who = "guest"};
static const struct caller central = {.who = "central", .operate = true, .remember = "central"};

static struct world *world;
static uv_loop_t loop;

/* What survives a power cut is not asked here, and waiting for the disk would take all the time. */
int fsync(int fd)
{
    (void)fd;
    return 0;
}

int fdatasync(int fd)
{
    (void)fd;
    return 0;
}

/* -- the world -- */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void end_world(void)
{
    if (world == NULL)
        return;
    hub_free(world->hub);
    store_close(world->store);
    nftw(world->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    buf_fini(&world->trace);
    free(world);
    world = NULL;
}

static void make_world(void)
{
    void *state = NULL;

    world_make(&state);
    world = state;
    world->dispatch.loop = &loop;
    world_device(world, "empty", 0, 0);
    world_device(world, "steady", 1, 0);
    world_device(world, "staged", 3, 4);
    world_device(world, "trial", 5, 6);
    world_device(world, "committed", 7, 8);
    world_device(world, "refused", 9, 10);
    world_device(world, "weak", 11, WORLD_FP_WEAK);
    world_device(world, "waits", 13, 0)->waits = true;
    world_start(world);
    world->dispatch.loop = &loop;
    world_command(world, "trial", EV_FLIP);
    world_command(world, "committed", EV_FLIP);
    world_command(world, "committed", EV_COMMIT);
    world_command(world, "refused", EV_FLIP);
    world_leg(world, "refused", world_up(world, 0, "refused"), FLIP_NEW, DIAG_IDENTITY);
}

/* -- what has to hold -- */

static void check_one(const json_t *reply)
{
    const json_t *error = json_object_get(reply, "error"), *data = json_object_get(error, "data");
    const json_t *id = json_object_get(reply, "id");
    json_int_t code = json_integer_value(json_object_get(error, "code"));

    if (json_object_size(reply) != 3 || id == NULL || json_is_object(id) || json_is_array(id))
        abort();
    if ((json_object_get(reply, "result") == NULL) == (error == NULL))
        abort();
    if (error != NULL &&
        (json_string_length(json_object_get(error, "message")) == 0 ||
         strcmp(rpc_error_name((int)code), "unknown") == 0 ||
         strcmp(json_string_value(json_object_get(data, "name")), rpc_error_name((int)code)) != 0))
        abort();
}

static void check_reply(const char *text)
{
    json_t *reply = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *one;
    size_t i;

    if (reply == NULL || strchr(text, '\n') != NULL)
        abort();
    if (json_is_object(reply))
        check_one(reply);
    else if (json_array_size(reply) == 0 || json_array_size(reply) > RPC_BATCH_MAX)
        abort();
    json_array_foreach(reply, i, one)
    {
        check_one(one);
    }
    json_decref(reply);
}

static void on_reply(void *arg, char *text)
{
    unsigned *replies = arg;

    ++*replies;
    if (text != NULL)
        check_reply(text);
    free(text);
}

static void serve(const struct caller *caller, const void *text, size_t n)
{
    unsigned replies = 0;

    dispatch_text(&world->dispatch, caller, text, n, on_reply, &replies);
    uv_run(&loop, UV_RUN_DEFAULT);
    if (replies != 1) /* NULL, where there is nothing to say, is one */
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char status[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"status\"}";
    static unsigned runs;

    if (runs == 0) {
        uv_loop_init(&loop);
        atexit(end_world);
    }
    if (runs++ % RUNS_OF_A_WORLD == 0) {
        end_world();
        make_world();
    }
    serve(&observer, data, size);
    serve(&central, data, size);
    serve(&observer, status, sizeof(status) - 1);
    log_set_level("*", LOG_ERROR_); /* a method may have set another */
    world_forget(world);
    return 0;
}
