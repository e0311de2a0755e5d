/* Requests are signed when they are exactly what the device must have, by a command that may do
 * whatever it likes or by the built-in CA; what comes back is looked at as well. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fleet/sign.h"
#include "scratch.h"
#include "test_tls_pki.h"
#include "tls/csr.h"
#include "tls/key.h"

static const char *const sans[] = {"DNS:{device}.{gateway}.example"};

/* -- requests ---------------------------------------------------------------------------------- */

/* What a gateway makes.  Returns owned. */
static char *request_of(enum key_kind kind, const char *subject, const char *const *names, size_t n)
{
    struct buf key = {0}, pem = {0};
    struct san all[4];
    struct dn dn;
    struct csr_terms terms = {&dn, all, n};

    assert_int_equal(dn_parse(subject, &dn, NULL), 0);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(san_parse(names[i], &all[i], NULL), 0);
    assert_int_equal(key_make(kind, &key, NULL), 0);
    assert_int_equal(csr_make_pem(&terms, key.p, key.len, &pem, NULL), 0);
    assert_int_equal(buf_append_u8(&pem, '\0'), 0);
    buf_fini_wipe(&key);
    dn_fini(&dn);
    return (char *)pem.p;
}

static char *request(const char *device)
{
    char subject[80], name[80];

    snprintf(subject, sizeof(subject), "CN=%s,O=gw-1", device);
    snprintf(name, sizeof(name), "DNS:%s.gw-1.example", device);
    return request_of(KEY_EC_P256, subject, (const char *const[]){name}, 1);
}

/* By openssl, with a section of extensions and whatever else.  Returns owned. */
static char *odd_request(const char *extensions, const char *arguments)
{
    char command[1200], conf[600];
    struct buf pem = {0};

    snprintf(conf, sizeof(conf),
             "[req]\ndistinguished_name = dn\nattributes = at\n[dn]\n[at]\n[ext]\n"
             "subjectAltName = DNS:press-1.gw-1.example\n%s\n[at_pw]\n"
             "challengePassword = pass\nchallengePassword_default = secret\n",
             extensions);
    pki_write("odd.cnf", conf, strlen(conf), 0600);
    snprintf(command, sizeof(command),
             "cd %s && openssl req -new -config odd.cnf -reqexts ext -key press-07.key "
             "-subj /O=gw-1/CN=press-1 %s -out odd.csr 2>odd.log",
             pki("."), arguments);
    if (system(command) != 0) /* NOLINT(cert-env33-c): in a folder of our own */
        fail_msg("%s", command);
    pki_read("odd.csr", &pem);
    assert_int_equal(buf_append_u8(&pem, '\0'), 0);
    return (char *)pem.p;
}

static struct signer_conf conf_of(const char *command)
{
    return (struct signer_conf){.command = command,
                                .days = 90,
                                .backdate_h = 24,
                                .timeout_s = 20,
                                .parallel = 3,
                                .subject = "CN={device},O={gateway}",
                                .sans = sans,
                                .san_count = 1,
                                .key = "ec-p256"};
}

static struct signer *signer_of(const struct signer_conf *conf)
{
    struct err err = {0};
    struct signer *s = signer_new(conf, &err);

    if (s == NULL)
        fail_msg("%s", err.msg);
    return s;
}

/* Takes the request. */
static void denied(struct signer *s, char *csr, const char *says)
{
    struct err err = {0};

    assert_int_equal(signer_check(s, "gw-1", "press-1", csr, &err), -ERR_DENIED);
    if (strstr(err.msg, says) == NULL)
        fail_msg("says: %s", err.msg);
    assert_int_equal(signer_put(s, "gw-1", "press-1", csr, NULL), -ERR_DENIED);
    free(csr);
}

static void a_request_must_be_this_devices(void **state)
{
    struct signer_conf conf = conf_of("false");
    struct signer *s = signer_of(&conf);
    const char *good = "DNS:press-1.gw-1.example", *bad = "DNS:press-2.gw-1.example";
    const char *subject = "CN=press-1,O=gw-1";
    struct err err = {0};
    char *csr = request("press-1");

    (void)state;
    assert_int_equal(signer_check(s, "gw-1", "press-1", csr, &err), 0);
    assert_int_equal(signer_check(s, "gw-2", "press-1", csr, &err), -ERR_DENIED);
    assert_int_equal(signer_check(s, "gw-1", "press-2", csr, &err), -ERR_DENIED);
    assert_non_null(strstr(err.msg, "says the subject is \"CN=press-1,O=gw-1\", and must say "
                                    "\"CN=press-2,O=gw-1\""));
    assert_int_equal(signer_check(s, "gw-1", "../x", csr, &err), -ERR_DENIED);
    free(csr);
    denied(s, request_of(KEY_EC_P256, subject, &bad, 1),
           "asks for the name DNS:press-2.gw-1.example, which is not this device's");
    denied(s, request_of(KEY_EC_P256, subject, (const char *const[]){good, bad}, 2),
           "asks for the name DNS:press-2.gw-1.example");
    denied(s, request_of(KEY_EC_P256, subject, NULL, 0), "lacks the name DNS:press-1.gw-1.example");
    denied(s, request_of(KEY_EC_P384, subject, &good, 1),
           "has a key of kind ec-p384, and ec-p256 was asked for");
    denied(s, request_of(KEY_EC_P256, "CN=press-1,O=gw-1,OU=x", &good, 1), "must say");
    denied(s, strdup("-----BEGIN CERTIFICATE-----\n"), "");
    denied(s, strdup("no request"), "holds no request");
    signer_free(s);
}

static void a_request_may_ask_for_nothing_besides(void **state)
{
    struct signer_conf conf = conf_of("false");
    struct signer *s = signer_of(&conf);
    struct err err = {0};
    char *csr = odd_request("keyUsage = digitalSignature\nbasicConstraints = CA:FALSE", "");

    (void)state;
    if (signer_check(s, "gw-1", "press-1", csr, &err) != 0)
        fail_msg("%s", err.msg);
    free(csr);
    denied(s, odd_request("basicConstraints = CA:TRUE", ""), "asks to be a CA");
    denied(s, odd_request("keyUsage = digitalSignature, keyCertSign", ""),
           "asks to sign certificates");
    denied(s, odd_request("extendedKeyUsage = clientAuth, serverAuth", ""),
           "asks for another purpose");
    denied(s, odd_request("nameConstraints = permitted;DNS:x", ""),
           "asks for an extension besides");
    denied(s, odd_request("", "-sha1"), "a digest that proves nothing");
    signer_free(s);
}

/* The names are right, and the key is somebody else's. */
static void a_request_must_be_signed_by_its_key(void **state)
{
    struct signer_conf conf = conf_of("false");
    struct signer *s = signer_of(&conf);
    struct buf der = {0}, pem = {0};
    char *good = request("press-1");
    struct csr c;

    (void)state;
    assert_int_equal(csr_read(good, strlen(good), &c, NULL), 0);
    assert_string_equal(c.key, "ec-p256");
    assert_int_equal(buf_append(&der, c.der.p, c.der.len), 0);
    der.p[(size_t)(c.spki.p - c.der.p) + c.spki.n - 1] ^= 1;
    assert_int_equal(csr_pem(der.p, der.len, &pem), 0);
    assert_int_equal(buf_append_u8(&pem, '\0'), 0);
    denied(s, (char *)pem.p, "");
    csr_fini(&c);
    buf_fini(&der);
    free(good);
    signer_free(s);
}

/* Whatever is cut off or turned over, nothing but a request that is whole gets through. */
static void a_damaged_request_is_refused(void **state)
{
    struct buf der = {0};
    char *good = request("press-1");
    struct csr c, other;

    (void)state;
    assert_int_equal(csr_read(good, strlen(good), &c, NULL), 0);
    for (size_t i = 1; i < c.der.len; i++) {
        struct buf pem = {0};

        der.len = 0;
        assert_int_equal(buf_append(&der, c.der.p, i), 0);
        assert_int_equal(csr_pem(der.p, der.len, &pem), 0);
        assert_true(csr_read((char *)pem.p, pem.len, &other, NULL) < 0);
        pem.len = 0;
        assert_int_equal(buf_append(&der, c.der.p + i, c.der.len - i), 0);
        der.p[i] ^= 0x11;
        assert_int_equal(csr_pem(der.p, der.len, &pem), 0);
        assert_true(csr_read((char *)pem.p, pem.len, &other, NULL) < 0);
        buf_fini(&pem);
    }
    csr_fini(&c);
    buf_fini(&der);
    free(good);
}

/* -- what came of it --------------------------------------------------------------------------- */

struct answer {
    int count, rc;
    char why[600], chain[8000], fp[65], devices[200];
    int64_t not_after_s;
};

static void take(void *arg, const struct signed_cert *c)
{
    struct answer *a = arg;

    a->count++;
    a->rc = c->rc;
    snprintf(a->why, sizeof(a->why), "%s", c->why == NULL ? "" : c->why);
    snprintf(a->chain, sizeof(a->chain), "%s", c->chain == NULL ? "" : c->chain);
    snprintf(a->fp, sizeof(a->fp), "%s", c->fp);
    snprintf(a->devices + strlen(a->devices), sizeof(a->devices) - strlen(a->devices), "%s ",
             c->device);
    a->not_after_s = c->not_after_s;
}

/* Until nothing is left to do; never longer than a minute. */
static void finish(struct signer *s, struct answer *a)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    int64_t until = clock_mono_us() + 60000000;

    while (signer_step(s, take, a) > 0) {
        assert_true(clock_mono_us() < until);
        nanosleep(&moment, NULL);
    }
}

/* One request for press-1, by this command. */
static struct answer answer_of(const struct signer_conf *conf)
{
    struct answer a = {0};
    struct signer *s = signer_of(conf);
    struct err err = {0};
    char *csr = request("press-1");

    if (signer_put(s, "gw-1", "press-1", csr, &err) != 0)
        fail_msg("%s", err.msg);
    finish(s, &a);
    assert_int_equal(a.count, 1);
    signer_free(s);
    free(csr);
    return a;
}

static struct answer answer(const char *command)
{
    struct signer_conf conf = conf_of(command);

    return answer_of(&conf);
}

static void says(const struct answer *a, int rc, const char *part)
{
    if (a->rc != rc || strstr(a->why, part) == NULL)
        fail_msg("%d: %s", a->rc, a->why);
}

/* openssl plays the CA. */
static const char leaf_ext[] = "basicConstraints=critical,CA:FALSE\\nkeyUsage=critical,"
                               "digitalSignature\\nextendedKeyUsage=clientAuth\\nsubjectAltName="
                               "DNS:press-1.gw-1.example\\nauthorityKeyIdentifier=keyid\\n";

static char *command_of(const char *ca, const char *ext, const char *more)
{
    static char command[1600];

    snprintf(command, sizeof(command),
             "cd '%s' && printf '%s' >ext.$$ && openssl x509 -req -CA %s.pem -CAkey %s.key "
             "-set_serial 0x$(openssl rand -hex 12) -extfile ext.$$ %s",
             pki("."), ext, ca, ca, more);
    return command;
}

static void a_command_signs(void **state)
{
    struct answer a = answer(command_of("ca-old", leaf_ext, "-days 90"));

    (void)state;
    if (a.rc != 0)
        fail_msg("%s", a.why);
    assert_non_null(strstr(a.chain, "BEGIN CERTIFICATE"));
    assert_int_equal(strlen(a.fp), 64);
    /* openssl does not backdate. */
    assert_non_null(strstr(a.why, "lint.not-backdated"));
    a = answer(command_of("ca-old", leaf_ext, "-days 30 -out \"$CERTFLIP_CERT\""));
    if (a.rc != 0)
        fail_msg("%s", a.why);
}

static void a_chain_is_put_in_order_and_needs_an_anchor(void **state)
{
    struct signer_conf conf = conf_of(NULL);
    struct answer a;
    char command[1800];

    (void)state;
    snprintf(command, sizeof(command), "cat '%s'; %s", pki("ca-int.pem"),
             command_of("ca-int", leaf_ext, "-days 90"));
    conf.command = command;
    conf.anchor_file = pki("ca-old.pem");
    a = answer_of(&conf);
    if (a.rc != 0)
        fail_msg("%s", a.why);
    conf.anchor_file = pki("ca-new.pem");
    a = answer_of(&conf);
    says(&a, -ERR_DENIED, "lint.");
    assert_string_equal(a.chain, "");
    /* Without its issuer. */
    conf.command = command_of("ca-int", leaf_ext, "-days 90");
    conf.anchor_file = pki("ca-old.pem");
    a = answer_of(&conf);
    says(&a, -ERR_DENIED, "lint.");
}

static void what_comes_back_must_be_what_was_asked_for(void **state)
{
    struct answer a;
    char command[256];

    (void)state;
    snprintf(command, sizeof(command), "cat '%s'", pki("press-07.pem"));
    a = answer(command);
    says(&a, -ERR_DENIED, "the certificate for gw-1/press-1: is for another key");
    a = answer(command_of("ca-old", leaf_ext, "-days 90 -subj /CN=press-2"));
    says(&a, -ERR_DENIED, "has the subject \"CN=press-2\"");
    a = answer(command_of("ca-old", "extendedKeyUsage=clientAuth", "-days 90"));
    says(&a, -ERR_DENIED, "lacks the name DNS:press-1.gw-1.example");
    a = answer(command_of("ca-old",
                          "basicConstraints=critical,CA:FALSE\\nkeyUsage=digitalSignature\\n"
                          "extendedKeyUsage=clientAuth\\nsubjectAltName=DNS:press-1.gw-1.example,"
                          "DNS:more.example",
                          "-days 90"));
    says(&a, 0, "has the name DNS:more.example besides");
    a = answer(command_of("ca-old",
                          "extendedKeyUsage=serverAuth\\nsubjectAltName=DNS:press-1.gw-1.example",
                          "-days 90"));
    says(&a, -ERR_DENIED, "lint.");
    a = answer("echo hello");
    says(&a, -ERR_DENIED, "gave no certificate");
    a = answer("echo '-----BEGIN CERTIFICATE-----'");
    says(&a, -ERR_DENIED, "the certificate for");
    a = answer("true");
    says(&a, -ERR_DENIED, "gave no certificate");
}

static void a_command_says_why(void **state)
{
    struct answer a = answer("echo 'the template has no such profile' >&2; exit 3");

    (void)state;
    says(&a, -ERR_DENIED, "refused (status 3): the template has no such profile");
    a = answer("echo 'quota: come back' >&2; exit 75");
    says(&a, -ERR_BUSY, "asks to try later: quota: come back");
    a = answer("exit 9");
    says(&a, -ERR_DENIED, "ended with status 9 and said nothing");
    a = answer("kill -9 $$");
    says(&a, -ERR_BUSY, "killed by signal 9");
    a = answer("/nowhere/step sign");
    says(&a, -ERR_DENIED, "status 127");
}

static void a_command_is_told_what_it_needs(void **state)
{
    struct answer a = answer(
        "[ \"$CERTFLIP_GATEWAY/$CERTFLIP_DEVICE\" = gw-1/press-1 ] && cmp - \"$CERTFLIP_CSR\" && "
        "[ $(($(date -d \"$CERTFLIP_NOT_AFTER\" +%s) - $(date -d \"$CERTFLIP_NOT_BEFORE\" +%s)))"
        " = $((91 * 86400)) ] && [ \"$(ls /proc/self/fd | wc -l)\" = 4 ] && "
        "[ \"$(sha256sum <\"$CERTFLIP_CSR\")\" = \"$CERTFLIP_REQUEST  -\" ] && "
        "[ \"$(stat -c %a \"$CERTFLIP_CSR\")\" = 600 ] && "
        "[ \"$(cut -d' ' -f5 /proc/$$/stat)\" = $$ ] && echo all >&2; exit 4");

    (void)state;
    says(&a, -ERR_DENIED, "(status 4): all");
}

/* A zombie that its adopter has not buried yet is not. */
static bool is_alive(pid_t pid)
{
    char path[64], stat[200] = "";
    int fd;

    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    if (read(fd, stat, sizeof(stat) - 1) < 0)
        stat[0] = '\0';
    close(fd);
    return stat[0] != '\0' && strstr(stat, ") Z") == NULL;
}

/* It writes without end, hangs, leaves somebody behind: none of it costs more than its own time. */
static void a_hostile_command_is_bounded(void **state)
{
    struct signer_conf conf = conf_of("yes");
    struct answer a = answer_of(&conf);
    char pid[32] = "", command[256];
    int64_t at = clock_mono_us();
    int fd;

    (void)state;
    says(&a, -ERR_DENIED, "wrote more than 256 KiB");
    a = answer("head -c 3000000 /dev/zero | tr '\\0' '\\033' >&2; echo the end >&2; exit 1");
    says(&a, -ERR_DENIED, "the end");
    assert_null(strchr(a.why, '\033'));
    conf.timeout_s = 1;
    conf.command = "echo waiting for the HSM >&2; trap '' TERM; sleep 100 & wait; sleep 100";
    a = answer_of(&conf);
    says(&a, -ERR_BUSY, "longer than 1 s and was killed: waiting for the HSM");
    /* One that is left behind has the pipe still, and is killed. */
    snprintf(command, sizeof(command), "sleep 100 & echo $! >%s; exit 75", pki("pid"));
    conf.timeout_s = 20;
    conf.command = command;
    a = answer_of(&conf);
    says(&a, -ERR_BUSY, "try later");
    assert_true(clock_mono_us() - at < 15000000);
    fd = open(pki("pid"), O_RDONLY);
    assert_true(read(fd, pid, sizeof(pid) - 1) > 0);
    close(fd);
    for (int i = 0; is_alive((pid_t)atoi(pid)); i++) {
        assert_true(i < 1000);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
}

static void several_run_at_once_and_all_come(void **state)
{
    struct signer_conf conf = conf_of("exit 75");
    struct signer *s = signer_of(&conf);
    struct answer a = {0};

    (void)state;
    for (int i = 0; i < 8; i++) {
        char device[20];
        char *csr;

        snprintf(device, sizeof(device), "press-%d", i);
        csr = request(device);
        assert_int_equal(signer_put(s, "gw-1", device, csr, NULL), 0);
        free(csr);
    }
    finish(s, &a);
    assert_int_equal(a.count, 8);
    assert_int_equal(signer_step(s, take, &a), 0);
    signer_free(s);
}

/* In the middle of it, without waiting, and nothing stays. */
static void a_signer_is_ended_at_any_time(void **state)
{
    struct signer_conf conf = conf_of("sleep 100");
    struct signer *s = signer_of(&conf);
    struct answer a = {0};
    char *csr = request("press-1");
    int64_t at = clock_mono_us();

    (void)state;
    for (int i = 0; i < 5; i++)
        assert_int_equal(signer_put(s, "gw-1", "press-1", csr, NULL), 0);
    assert_int_equal(signer_step(s, take, &a), 5);
    signer_free(s);
    assert_true(clock_mono_us() - at < 20000000);
    assert_int_equal(a.count, 0);
    free(csr);
}

/* How many folders of runs there are. */
static int folders(void)
{
    DIR *d = opendir(getenv("TMPDIR"));
    int n = 0;

    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += strncmp(e->d_name, "certflip-sign-", 14) == 0;
    closedir(d);
    return n;
}

/* A $TMPDIR for one test alone. */
struct own_tmp {
    char *before; /* owned; NULL: there was none */
    char path[64];
};

static void own_tmp_begin(struct own_tmp *t)
{
    t->before = getenv("TMPDIR") == NULL ? NULL : strdup(getenv("TMPDIR"));
    assert_true(scratch_make(t->path, sizeof(t->path)));
    setenv("TMPDIR", t->path, 1);
}

/* Nothing is left in it. */
static void own_tmp_end(struct own_tmp *t)
{
    assert_int_equal(rmdir(t->path), 0);
    if (t->before == NULL)
        unsetenv("TMPDIR");
    else
        setenv("TMPDIR", t->before, 1);
    free(t->before);
}

/* Wherever a run ends, and whatever the command has put there. */
static void a_run_leaves_no_folder(void **state)
{
    static const char *const litter[] = {
        "touch \"${CERTFLIP_CSR%/*}/serial\"; exit 1",
        "cd \"${CERTFLIP_CSR%/*}\"; mkdir -p a/b/c; touch a/b/c/d a/.e; ln -s /etc a/b/l; exit 75",
        "chmod 500 \"${CERTFLIP_CSR%/*}\"; kill -9 $$",
        "rm -r \"${CERTFLIP_CSR%/*}\"; exit 1",
    };
    struct own_tmp tmp;

    (void)state;
    own_tmp_begin(&tmp);
    for (size_t i = 0; i < sizeof(litter) / sizeof(litter[0]); i++) {
        assert_int_not_equal(answer(litter[i]).rc, 0);
        assert_int_equal(folders(), 0);
    }
    assert_int_equal(access("/etc/passwd", F_OK), 0);
    own_tmp_end(&tmp);
}

/* One process is killed in the middle of two runs, another one has a run under way. */
static void folders_of_the_dead_are_swept(void **state)
{
    struct signer_conf conf = conf_of("sleep 100");
    struct own_tmp tmp;
    char *csr = request("press-1");
    struct answer a = {0};
    struct signer *living;
    int ready[2];
    char word;
    pid_t pid;

    (void)state;
    own_tmp_begin(&tmp);
    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct signer *s;

        conf.command = "sleep 5"; /* which goes on when its starter is dead */
        s = signer_new(&conf, NULL);
        (void)signer_put(s, "gw-1", "press-1", csr, NULL);
        (void)signer_put(s, "gw-1", "press-1", csr, NULL);
        (void)!write(ready[1], signer_step(s, take, &a) == 2 ? "y" : "n", 1);
        pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &word, 1), 1);
    assert_int_equal(word, 'y');
    assert_int_equal(folders(), 2);
    living = signer_of(&conf);
    assert_int_equal(folders(), 2);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(signer_put(living, "gw-1", "press-1", csr, NULL), 0);
    assert_int_equal(signer_step(living, take, &a), 1);
    assert_int_equal(folders(), 3);
    signer_free(signer_of(&conf));
    assert_int_equal(folders(), 1);
    signer_free(living);
    assert_int_equal(folders(), 0);
    close(ready[0]);
    close(ready[1]);
    own_tmp_end(&tmp);
    free(csr);
}

/* -- the built-in CA --------------------------------------------------------------------------- */

static struct signer_conf conf_of_ca(const char *name)
{
    struct signer_conf conf = conf_of(NULL);
    static char cert[128], key[128];

    snprintf(cert, sizeof(cert), "%s.pem", name);
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(cert, sizeof(cert), "%s", pki(cert));
    snprintf(key, sizeof(key), "%s", pki(key));
    conf.ca_cert_file = cert;
    conf.ca_key_file = key;
    return conf;
}

/* What openssl says of it, a judge that is not us. */
static const char *openssl_says(const char *arguments)
{
    static char said[20000];
    char command[800];
    size_t n;
    FILE *from;

    snprintf(command, sizeof(command), "cd '%s' && openssl %s 2>&1", pki("."), arguments);
    from = popen(command, "r"); /* NOLINT(cert-env33-c): in a folder of our own */
    assert_non_null(from);
    n = fread(said, 1, sizeof(said) - 1, from);
    said[n] = '\0';
    if (pclose(from) != 0)
        fail_msg("openssl %s: %s", arguments, said);
    return said;
}

static void has(const char *said, const char *part)
{
    if (strstr(said, part) == NULL)
        fail_msg("not there: %s\n%s", part, said);
}

static void the_ca_signs_what_openssl_accepts(void **state)
{
    static const char *const cas[] = {"ca-old", "ca-new",
                                      "ca-bound"}; /* EC, RSA, an intermediate */
    char serial[64] = "";

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct signer_conf conf = conf_of_ca(cas[i]);
        struct answer a;
        const char *said;

        /* Below ca-bound only names of plant.example are permitted. */
        if (i == 2) {
            a = answer_of(&conf);
            says(&a, -ERR_DENIED, "lint.");
            continue;
        }
        a = answer_of(&conf);
        if (a.rc != 0)
            fail_msg("%s: %s", cas[i], a.why);
        /* A CA of today cannot have signed yesterday. */
        has(a.why, "lint.not-backdated");
        pki_write("signed.pem", a.chain, strlen(a.chain), 0600);
        has(openssl_says(i == 0 ? "verify -x509_strict -purpose sslclient -CAfile ca-old.pem "
                                  "-untrusted signed.pem signed.pem"
                                : "verify -purpose sslclient -CAfile ca-new.pem signed.pem"),
            "signed.pem: OK");
        said = openssl_says("x509 -in signed.pem -noout -text -nameopt RFC2253");
        has(said, "CN=press-1");
        has(said, "DNS:press-1.gw-1.example");
        has(said, "TLS Web Client Authentication");
        has(said, "CA:FALSE");
        has(said, "Digital Signature");
        has(said, "Subject Key Identifier");
        has(said, "Authority Key Identifier");
        assert_true(a.not_after_s - (clock_wall_s() + 90 * 86400) <= 0);
        assert_true(a.not_after_s - (clock_wall_s() + 90 * 86400) > -120);
        has(openssl_says("x509 -in signed.pem -noout -fingerprint -sha256"), "Fingerprint=");
        said = openssl_says("x509 -in signed.pem -noout -serial");
        assert_string_not_equal(said, serial);
        snprintf(serial, sizeof(serial), "%s", said);
    }
}

static void an_intermediate_is_sent_along_and_its_end_is_ours(void **state)
{
    struct signer_conf conf = conf_of_ca("ca-int");
    struct answer a;
    struct cert_info *ca = pki_info("ca-int.pem"), *leaf;

    (void)state;
    a = answer_of(&conf);
    if (a.rc != 0)
        fail_msg("%s", a.why);
    assert_string_equal(a.why, "");
    pki_write("signed.pem", a.chain, strlen(a.chain), 0600);
    leaf = pki_info("signed.pem");
    assert_true(leaf->not_before_s <= clock_wall_s() - 86400);
    assert_true(leaf->not_before_s > clock_wall_s() - 86400 - 120);
    cert_info_free(leaf);
    conf.days = 36500;
    a = answer_of(&conf);
    if (a.rc != 0)
        fail_msg("%s", a.why);
    assert_int_equal(a.not_after_s, ca->not_after_s);
    has(a.why, "it ends already on");
    pki_write("signed.pem", a.chain, strlen(a.chain), 0600);
    has(openssl_says(
            "verify -purpose sslclient -CAfile ca-old.pem -untrusted signed.pem signed.pem"),
        "signed.pem: OK");
    cert_info_free(ca);
}

static void no_ca(const struct signer_conf *conf, const char *part)
{
    struct err err = {0};
    struct signer *s = signer_new(conf, &err);

    assert_null(s);
    has(err.msg, part);
}

static void what_cannot_sign_is_said_at_once(void **state)
{
    struct signer_conf conf = conf_of_ca("press-07");

    (void)state;
    no_ca(&conf, "is no CA");
    conf = conf_of_ca("ca-gone");
    no_ca(&conf, "expired on 2021-01-01");
    conf = conf_of_ca("ca-early");
    no_ca(&conf, "is not valid before 2048");
    conf = conf_of_ca("ca-old");
    conf.ca_key_file = pki("ca-far.key");
    no_ca(&conf, "is not the key of");
    conf.ca_key_file = pki("press-07.pkcs8-encrypted");
    no_ca(&conf, "is encrypted");
    conf.ca_key_file = pki("ca-old.pem");
    assert_int_equal(chmod(conf.ca_key_file, 0600), 0);
    no_ca(&conf, "holds no private key");
    conf.ca_key_file = pki("nowhere.key");
    no_ca(&conf, "nowhere.key");
    conf = conf_of_ca("ca-old");
    assert_int_equal(chmod(conf.ca_key_file, 0640), 0);
    no_ca(&conf, "with mode 640: others may use it: chmod 600");
    assert_int_equal(chmod(conf.ca_key_file, 0600), 0);
    conf.subject = "CN={username}";
    no_ca(&conf, "{username}");
    conf.subject = "CM={device}";
    no_ca(&conf, "CM");
    conf = conf_of_ca("ca-old");
    conf.key = "dsa";
    no_ca(&conf, "ec-p256");
    conf = conf_of_ca("ca-old");
    conf.anchor_file = pki("nowhere.pem");
    no_ca(&conf, "nowhere.pem");
    conf = conf_of(NULL);
    no_ca(&conf, "who signs?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_must_be_this_devices),
        cmocka_unit_test(a_request_may_ask_for_nothing_besides),
        cmocka_unit_test(a_request_must_be_signed_by_its_key),
        cmocka_unit_test(a_damaged_request_is_refused),
        cmocka_unit_test(a_command_signs),
        cmocka_unit_test(a_chain_is_put_in_order_and_needs_an_anchor),
        cmocka_unit_test(what_comes_back_must_be_what_was_asked_for),
        cmocka_unit_test(a_command_says_why),
        cmocka_unit_test(a_command_is_told_what_it_needs),
        cmocka_unit_test(a_hostile_command_is_bounded),
        cmocka_unit_test(several_run_at_once_and_all_come),
        cmocka_unit_test(a_signer_is_ended_at_any_time),
        cmocka_unit_test(a_run_leaves_no_folder),
        cmocka_unit_test(folders_of_the_dead_are_swept),
        cmocka_unit_test(the_ca_signs_what_openssl_accepts),
        cmocka_unit_test(an_intermediate_is_sent_along_and_its_end_is_ours),
        cmocka_unit_test(what_cannot_sign_is_said_at_once),
    };

    return cmocka_run_group_tests(tests, pki_setup, pki_teardown);
}
