#include "base/crash.h"

#ifdef CERTFLIP_CRASH_POINTS

#    include <errno.h>
#    include <fcntl.h>
#    include <pthread.h>
#    include <signal.h>
#    include <stdlib.h>
#    include <string.h>
#    include <unistd.h>

#    define LINE_BYTES 128
#    define SITES_MAX  512

extern const struct crash_site __start_crash_sites[], __stop_crash_sites[];

/* What is armed. */
struct plan {
    char line[LINE_BYTES]; /* as it was given, to see a change */
    char name[LINE_BYTES];
    unsigned long count;
    bool from_then_on;
    int error; /* 0: SIGKILL */
    bool hang;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static bool looked;
static const char *file; /* NULL: the environment has said it all, or nothing */
static struct plan plan;
static unsigned long passed; /* how often, since it was armed */

static const struct {
    const char *name;
    int number;
} errors[] = {{"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EROFS", EROFS}};

static _Noreturn void misused(const char *line, const char *why)
{
    fprintf(stderr, "CERTFLIP_CRASH=%s: %s\n", line, why);
    _exit(2);
}

static const struct crash_site *find(const char *name)
{
    for (const struct crash_site *s = __start_crash_sites; s < __stop_crash_sites; s++)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static int error_of(const char *line, const char *name)
{
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (strcmp(errors[i].name, name) == 0)
            return errors[i].number;
    misused(line, "there is no such error: EIO, ENOSPC, EROFS, or HANG");
}

/* NAME[:COUNT[+]][:ERROR] */
static void arm(const char *line)
{
    const struct crash_site *site;
    char text[LINE_BYTES], *rest = text, *name, *part;

    passed = 0;
    plan = (struct plan){.count = 1};
    snprintf(plan.line, sizeof(plan.line), "%s", line);
    snprintf(text, sizeof(text), "%s", line);
    name = strsep(&rest, ":");
    if (*name == '\0')
        return;
    snprintf(plan.name, sizeof(plan.name), "%s", name);
    if ((site = find(name)) == NULL)
        misused(line, "there is no such point");
    part = strsep(&rest, ":");
    if (part != NULL && *part >= '0' && *part <= '9') {
        char *end;

        plan.count = strtoul(part, &end, 10);
        plan.from_then_on = *end == '+';
        part = strsep(&rest, ":");
    }
    if (part == NULL)
        return;
    if (strcmp(part, "HANG") == 0) {
        plan.hang = true;
        return;
    }
    plan.error = error_of(line, part);
    if (!site->fails)
        misused(line, "no operation can fail at this point");
}

static void look(void)
{
    char line[LINE_BYTES];
    ssize_t n;
    int fd;

    if (!looked) {
        const char *said = getenv("CERTFLIP_CRASH"); /* NOLINT(concurrency-mt-unsafe) */

        looked = true;
        if (said != NULL && *said == '/')
            file = said;
        else if (said != NULL)
            arm(said);
    }
    if (file == NULL)
        return;
    fd = open(file, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, line, sizeof(line) - 1);
    if (fd >= 0)
        close(fd);
    line[n < 0 ? 0 : n] = '\0';
    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, plan.line) != 0)
        arm(line);
}

static _Noreturn void cut_power(const char *name)
{
    char text[LINE_BYTES + 32];
    int n = snprintf(text, sizeof(text), "crash-point: %s\n", name);

    if (n > 0)
        (void)!write(STDERR_FILENO, text, (size_t)n); /* for who reads the log */
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

int crash_pass(const struct crash_site *site)
{
    int saved = errno, error = 0;
    bool hang = false;

    pthread_mutex_lock(&lock);
    look();
    if (strcmp(site->name, plan.name) == 0) {
        passed++;
        if (passed == plan.count || (plan.from_then_on && passed > plan.count)) {
            if (plan.error == 0 && !plan.hang)
                cut_power(site->name);
            error = plan.error;
            hang = plan.hang;
        }
    }
    pthread_mutex_unlock(&lock);
    while (hang)
        pause();
    errno = saved;
    return error;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct crash_site *const *)a)->name,
                  (*(const struct crash_site *const *)b)->name);
}

void crash_list(FILE *to)
{
    const struct crash_site *sorted[SITES_MAX];
    size_t n = 0;

    for (const struct crash_site *s = __start_crash_sites; s < __stop_crash_sites; s++)
        if (n < SITES_MAX)
            sorted[n++] = s;
    qsort(sorted, n, sizeof(sorted[0]), by_name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && strcmp(sorted[i]->name, sorted[i - 1]->name) == 0)
            continue; /* in a function that the compiler has copied, or in several places */
        fprintf(to, "%s%s\n", sorted[i]->name, sorted[i]->fails ? " fails" : "");
    }
}

#else

extern const char crash_points_are_not_compiled_in;
const char crash_points_are_not_compiled_in = 0; /* ISO C wants something in a file */

#endif
