/* The folders of identities: what is there, what is usable, and what is said when it is not. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/durable.h"
#include "base/str.h"
#include "identity/slots.h"
#include "scratch.h"
#include "tls/ctx.h"

/* Two identities that sign themselves, valid for a century. */
/* clang-format off */
static const char cert_1[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBejCCASGgAwIBAgIUb1RljuoqNvERy+p0bKwCovm6cmEwCgYIKoZIzj0EAwIw\n"
    "EjEQMA4GA1UEAwwHcHJlc3MtMTAgFw0yNjExMjMxNjI0NTZaGA8yMTI2MTAzMDE2\n"
    "MjQ1NlowEjEQMA4GA1UEAwwHcHJlc3MtMTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
    "A0IABODtBJDvirvir43I32YLv8/oRlUbwIpMRA6wYfRKOU7feSgk6LZQpCpdz5/P\n"
    "4Cph5LDdbcPiZkCcOkZHpidE8t6jUzBRMB0GA1UdDgQWBBR8QaN0Hnbe09f9ezJp\n"
    "q+A6wUquRzAfBgNVHSMEGDAWgBR8QaN0Hnbe09f9ezJpq+A6wUquRzAPBgNVHRMB\n"
    "Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCID9pGNxfFq+Uur7cWaOcbJgBgUG9\n"
    "h6YrEBf5ED2XcJwMAiAXTk4q0SmmOhka5lOJwUbCGLAgMdyZBzkBLGQhH7wqoA==\n"
    "-----END CERTIFICATE-----\n";
static const char key_1[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgvEap5b5XXxoO+PWX\n"
    "zJAK8cnOlT4cwYzNgntV64Am4E2hRANCAATg7QSQ74q74q+NyN9mC7/P6EZVG8CK\n"
    "TEQOsGH0SjlO33koJOi2UKQqXc+fz+AqYeSw3W3D4mZAnDpGR6YnRPLe\n"
    "-----END PRIVATE KEY-----\n";
static const char cert_2[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBejCCASGgAwIBAgIUFinEkposkxQxBxwME3ophXdpolMwCgYIKoZIzj0EAwIw\n"
    "EjEQMA4GA1UEAwwHcHJlc3MtMjAgFw0yNjExMjMxNjI0NTZaGA8yMTI2MTAzMDE2\n"
    "MjQ1NlowEjEQMA4GA1UEAwwHcHJlc3MtMjBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
    "A0IABJug4+qXJdGRL3Bh/z/Jpft9U47RcSL2wK1roa9cCc/KwhpGjIJUwLigHpKu\n"
    "1fI4ze5qD4Yvs1WjRlz0UaXy3CyjUzBRMB0GA1UdDgQWBBTpOim/mTN16IklqwiA\n"
    "yBmY+dE+9TAfBgNVHSMEGDAWgBTpOim/mTN16IklqwiAyBmY+dE+9TAPBgNVHRMB\n"
    "Af8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIGlQQz166+HMkXpYCUmU7Zl5Q3JM\n"
    "oUblLpBwonCx2muAAiAj3wfLzbY4XmMNAvSA+IAZTuAXY9xqC2oTkypIFH4PdQ==\n"
    "-----END CERTIFICATE-----\n";
static const char key_2[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCWCXK9Mxl42u1lE8\n"
    "w4dm9dFffIrGraAYhSR5K+GyVE6hRANCAASboOPqlyXRkS9wYf8/yaX7fVOO0XEi\n"
    "9sCta6GvXAnPysIaRoyCVMC4oB6SrtXyOM3uag+GL7NVo0Zc9FGl8tws\n"
    "-----END PRIVATE KEY-----\n";
/* clang-format on */

static char dir[64];

static char *path_of(const char *name)
{
    return str_printf("%s/%s", dir, name);
}

static void folder(const char *name)
{
    char *path = path_of(name);

    assert_int_equal(durable_mkdirs(path, 0755, NULL), 0);
    free(path);
}

static void put(const char *name, const char *text)
{
    char *path = path_of(name);

    *strrchr(path, '/') = '\0';
    assert_int_equal(durable_mkdirs(path, 0755, NULL), 0);
    free(path);
    path = path_of(name);
    assert_int_equal(durable_write(path, text, strlen(text), 0600, NULL), 0);
    free(path);
}

static void erase(const char *path)
{
    DIR *d = opendir(path);
    struct dirent *e;

    while (d != NULL && (e = readdir(d)) != NULL) {
        char *name = str_printf("%s/%s", path, e->d_name);

        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && unlink(name) != 0)
            erase(name);
        free(name);
    }
    if (d != NULL)
        closedir(d);
    rmdir(path);
}

static int setup(void **unused)
{
    (void)unused;
    return scratch_make(dir, sizeof(dir)) ? 0 : -1;
}

static int teardown(void **unused)
{
    (void)unused;
    erase(dir);
    return 0;
}

/* What is wrong with the slot of press-1, without the temporary folder's name. */
static void fault_is(enum flip_slot slot, const char *wanted)
{
    struct slots s = {0};
    struct err err = {0};
    char *p;

    assert_int_equal(slots_load(dir, "press-1", &s, &err), 0);
    p = s.fault[slot].msg;
    while ((p = strstr(p, dir)) != NULL)
        memmove(p, p + strlen(dir), strlen(p + strlen(dir)) + 1);
    assert_true(s.present[slot]);
    assert_null(s.cred[slot]);
    assert_true(s.fault[slot].code > 0);
    if (strncmp(s.fault[slot].msg, wanted, strlen(wanted)) != 0)
        fail_msg("%s", s.fault[slot].msg);
    slots_fini(&s);
}

static void both_slots_are_loaded(void **unused)
{
    struct slots s = {0};
    struct err err = {0};

    (void)unused;
    put("press-1/old/chain.pem", cert_1);
    put("press-1/old/key.pem", key_1);
    put("press-1/new/cert.pem", cert_2);
    put("press-1/new/key.pem", key_2);
    assert_int_equal(slots_load(dir, "press-1", &s, &err), 0);
    for (int i = 0; i < FLIP_SLOTS; i++) {
        assert_true(s.present[i]);
        assert_int_equal(s.fault[i].code, 0);
        assert_non_null(s.cred[i]);
    }
    assert_string_equal(cred_leaf(s.cred[FLIP_OLD])->cn, "press-1");
    assert_string_equal(cred_leaf(s.cred[FLIP_NEW])->cn, "press-2");
    slots_fini(&s);
    assert_null(s.cred[FLIP_OLD]);
    slots_fini(&s);
}

static void empty_slots_are_no_fault(void **unused)
{
    struct slots s = {0};

    (void)unused;
    folder("press-1/new");
    put("press-1/old/notes.txt", "hello");
    assert_int_equal(slots_load(dir, "press-1", &s, NULL), 0);
    for (int i = 0; i < FLIP_SLOTS; i++) {
        assert_false(s.present[i]);
        assert_null(s.cred[i]);
        assert_int_equal(s.fault[i].code, 0);
    }
    slots_fini(&s);
}

static void faults_name_device_slot_and_file(void **unused)
{
    char *path;

    (void)unused;
    put("press-1/old/chain.pem", cert_1);
    fault_is(FLIP_OLD, "device press-1: old identity: /press-1/old/key.pem: is missing: put the "
                       "private key of chain.pem there");
    put("press-1/old/key.pem", key_2);
    fault_is(FLIP_OLD, "device press-1: old identity: /press-1/old/");
    put("press-1/old/key.pem", "");
    fault_is(FLIP_OLD, "device press-1: old identity: /press-1/old/key.pem");
    put("press-1/old/key.pem", key_1);
    put("press-1/old/chain.pem", key_1);
    fault_is(FLIP_OLD, "device press-1: old identity: /press-1/old/chain.pem");
    put("press-1/old/chain.pem", cert_1);
    put("press-1/old/cert.pem", cert_1);
    fault_is(FLIP_OLD, "device press-1: old identity: /press-1/old: holds both chain.pem and "
                       "cert.pem: keep one of them");
    put("press-1/new/key.pem", key_1);
    fault_is(FLIP_NEW, "device press-1: new identity: /press-1/new/chain.pem: is missing: put the "
                       "certificate of key.pem there, and its intermediates");
    if (geteuid() == 0)
        return; /* modes do not stop root */
    path = path_of("press-1/new");
    chmod(path, 0);
    fault_is(FLIP_NEW, "device press-1: new identity: /press-1/new/chain.pem: cannot look at it");
    chmod(path, 0755);
    free(path);
}

/* One slot's fault leaves the other one alone. */
static void slots_fail_one_by_one(void **unused)
{
    struct slots s = {0};

    (void)unused;
    put("press-1/old/chain.pem", cert_1);
    put("press-1/old/key.pem", key_1);
    put("press-1/new/chain.pem", cert_2);
    put("press-1/new/key.pem", key_1);
    assert_int_equal(slots_load(dir, "press-1", &s, NULL), 0);
    assert_non_null(s.cred[FLIP_OLD]);
    assert_int_equal(s.fault[FLIP_OLD].code, 0);
    assert_null(s.cred[FLIP_NEW]);
    assert_true(s.fault[FLIP_NEW].code != 0);
    slots_fini(&s);
}

static void absent_devices_are_not_found(void **unused)
{
    struct slots s = {0};
    struct err err = {0};

    (void)unused;
    put("file", "x");
    assert_int_equal(slots_load(dir, "press-9", &s, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no such folder"));
    assert_int_equal(slots_load(dir, "file", &s, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "is not a folder"));
    assert_int_equal(slots_load(dir, "../x", &s, &err), -ERR_NOT_FOUND);
    assert_int_equal(slots_load(dir, "..", &s, &err), -ERR_NOT_FOUND);
    assert_int_equal(slots_load(dir, "", &s, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "is not a device's name"));
    assert_false(s.present[FLIP_OLD]);
}

struct seen {
    char names[200];
    const char *stop_at;
};

static int each(void *arg, const char *device)
{
    struct seen *s = arg;

    if (s->stop_at != NULL && strcmp(device, s->stop_at) == 0)
        return -ERR_BUSY;
    strcat(s->names, device);
    strcat(s->names, " ");
    return 0;
}

static void scan_calls_for_each_device_in_order(void **unused)
{
    struct seen s = {0};
    struct err err = {0};
    char *link;

    (void)unused;
    assert_int_equal(slots_scan(dir, each, &s, &err), 0);
    assert_string_equal(s.names, "");
    folder("b");
    folder("a.1");
    folder("C");
    folder(".git");
    put("README", "x");
    link = path_of("z");
    assert_int_equal(symlink("b", link), 0);
    free(link);
    link = path_of("y");
    assert_int_equal(symlink("README", link), 0);
    free(link);
    assert_int_equal(slots_scan(dir, each, &s, &err), 4);
    assert_string_equal(s.names, "C a.1 b z ");
    assert_int_equal(err.code, 0);

    folder("not a name");
    folder("-x");
    s.names[0] = '\0';
    assert_int_equal(slots_scan(dir, each, &s, &err), 4);
    assert_string_equal(s.names, "C a.1 b z ");
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, ": 2 folders were passed over, \"-x\" first"));

    s = (struct seen){.stop_at = "b"};
    assert_int_equal(slots_scan(dir, each, &s, &err), -ERR_BUSY);
    assert_string_equal(s.names, "C a.1 ");
}

static void scan_needs_a_folder(void **unused)
{
    struct seen s = {0};
    struct err err = {0};
    char *path = path_of("none");

    (void)unused;
    assert_int_equal(slots_scan(path, each, &s, &err), -ERR_NOT_FOUND);
    assert_non_null(strstr(err.msg, "there is no such folder"));
    put("none", "x");
    assert_int_equal(slots_scan(path, each, &s, &err), -ERR_IO);
    free(path);
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(both_slots_are_loaded),
        IN_FOLDER(empty_slots_are_no_fault),
        IN_FOLDER(faults_name_device_slot_and_file),
        IN_FOLDER(slots_fail_one_by_one),
        IN_FOLDER(absent_devices_are_not_found),
        IN_FOLDER(scan_calls_for_each_device_in_order),
        IN_FOLDER(scan_needs_a_folder),
    };
    int rc;

    if (tls_init(NULL) != 0)
        return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    tls_fini();
    return rc;
}
