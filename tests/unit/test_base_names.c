/* Names of certificates as text: subjects of RFC 4514, alternative names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/names.h"
#include "base/str.h"

/* "550403=u:press-12" for each part, '+' or ',' between them. */
static void expect_dn(const char *text, const char *wanted)
{
    static const char letters[] = {[DN_UTF8] = 'u', [DN_PRINTABLE] = 'p', [DN_IA5] = 'i'};
    char got[4000] = "";
    struct dn dn;
    struct err err = {0};

    if (dn_parse(text, &dn, &err) != 0)
        fail_msg("%s: %s", text, err.msg);
    for (size_t i = 0; i < dn.count; i++) {
        const struct dn_part *p = &dn.parts[i];
        char oid[2 * DN_OID_MAX + 1], raw[200];
        size_t n = strlen(got);

        str_hex(oid, p->oid, p->oid_len);
        if (p->string == DN_RAW)
            str_hex(raw, (const uint8_t *)p->value, p->n);
        assert_true(p->string == DN_RAW || p->n == strlen(p->value));
        snprintf(got + n, sizeof(got) - n, "%s%s=%c:%s",
                 i == 0      ? ""
                 : p->joined ? "+"
                             : ",",
                 oid, p->string == DN_RAW ? '#' : letters[p->string],
                 p->string == DN_RAW ? raw : p->value);
    }
    dn_fini(&dn);
    assert_int_equal(dn.count, 0);
    assert_string_equal(got, wanted);
}

static void subjects_are_read_as_rfc_4514_has_them(void **unused)
{
    (void)unused;
    expect_dn("", "");
    expect_dn("  ", "");
    expect_dn("CN=press-12", "550403=u:press-12");
    expect_dn("cn=a,ou=b,o=c,c=DE,dc=example",
              "550403=u:a,55040b=u:b,55040a=u:c,550406=p:DE,0992268993f22c640119=i:example");
    expect_dn("CN = a b , O=c", "550403=u:a b,55040a=u:c");
    expect_dn("CN=a+UID=b,O=c", "550403=u:a+0992268993f22c640101=u:b,55040a=u:c");
    expect_dn("O=Sue\\, Grabbit and Runn", "55040a=u:Sue, Grabbit and Runn"); /* RFC 4514, 4 */
    expect_dn("CN=Lu\\C4\\8Di\\C4\\87", "550403=u:Lu\xc4\x8di\xc4\x87");      /* likewise */
    expect_dn("CN=M\xc3\xbcller", "550403=u:M\xc3\xbcller");
    expect_dn("1.3.6.1.4.1.1466.0=#04024869", "2b060104018b3a00=#:04024869"); /* likewise */
    expect_dn("2.5.4.3=x", "550403=u:x");
    expect_dn("OID.2.999.1=x", "883701=u:x");
    expect_dn("CN=\\#1\\ ,O=a\\=b=c", "550403=u:#1 ,55040a=u:a=b=c");
    expect_dn("CN=\\\"a\\\"\\+\\<\\>\\;\\\\", "550403=u:\"a\"+<>;\\");
    expect_dn("emailAddress=a@example.com", "2a864886f70d010901=i:a@example.com");
}

static void refuses_dn(const char *text, const char *part)
{
    struct dn dn = {.count = 77};
    struct err err = {0};

    assert_true(dn_parse(text, &dn, &err) < 0);
    assert_int_equal(dn.count, 77);
    if (strstr(err.msg, part) == NULL)
        fail_msg("%s: %s: not: %s", text, err.msg, part);
}

static void what_is_no_subject_is_refused_with_the_reason(void **unused)
{
    char text[2000];

    (void)unused;
    refuses_dn("press-12", "write TYPE=VALUE");
    refuses_dn("CN=a,", "write TYPE=VALUE");
    refuses_dn(",CN=a", "write TYPE=VALUE");
    refuses_dn("CN=a+", "write TYPE=VALUE");
    refuses_dn("X=a", "there is no attribute \"X\"");
    refuses_dn("=a", "there is no attribute \"\"");
    refuses_dn("1=a", "there is no attribute");
    refuses_dn("3.1=a", "there is no attribute");
    refuses_dn("1.40=a", "there is no attribute");
    refuses_dn("1.02=a", "there is no attribute");
    refuses_dn("1..2=a", "there is no attribute");
    refuses_dn("1.2.=a", "there is no attribute");
    refuses_dn("1.2.999999999999999999999=a", "there is no attribute");
    refuses_dn("CN=", "CN: is empty");
    refuses_dn("CN=   ,O=a", "CN: is empty");
    refuses_dn("CN=\"a\"", "quotes do not quote");
    refuses_dn("CN=a;O=b", "a bare ;");
    refuses_dn("CN=a\\zb", "a bare \\");
    refuses_dn("CN=a\\", "a bare \\");
    refuses_dn("CN=\\ff", "is not UTF-8");
    refuses_dn("CN=\\00", "is not UTF-8");
    refuses_dn("C=Germany", "at most 2");
    refuses_dn("C=D", "two letters");
    refuses_dn("serialNumber=a_b", "allows only letters");
    refuses_dn("DC=\xc3\xbc", "only ASCII");
    refuses_dn("CN=#04024", "hex");
    refuses_dn("CN=#", "hex");
    refuses_dn("CN=#040348", "one element");
    refuses_dn("CN=#0402486900", "one element");
    refuses_dn("CN=#0480", "one element");
    refuses_dn("CN=#0c0141x", "a comma is missing");
    memset(text, 'a', sizeof(text));
    memcpy(text, "CN=", 3);
    text[3 + 64] = '\0';
    assert_int_equal(strlen(text), 67);
    {
        struct dn dn;

        assert_int_equal(dn_parse(text, &dn, NULL), 0);
        dn_fini(&dn);
    }
    text[3 + 64] = 'a';
    text[3 + 65] = '\0';
    refuses_dn(text, "65 characters, at most 64");
    text[3 + 65] = 'a';
    text[1500] = '\0';
    refuses_dn(text, "longer than 1000");
    text[0] = '\0';
    for (int i = 0; i <= DN_PARTS_MAX; i++)
        strcat(text, i == 0 ? "O=a" : ",O=a");
    refuses_dn(text, "more than 32");
}

static void takes_san(const char *text, enum san_kind kind, const char *value, size_t ip_len)
{
    struct san san;
    struct err err = {0};

    if (san_parse(text, &san, &err) != 0)
        fail_msg("%s: %s", text, err.msg);
    assert_int_equal(san.kind, kind);
    assert_string_equal(san.text, value);
    assert_int_equal(san.ip_len, ip_len);
}

static void alternative_names_are_read_by_their_kind(void **unused)
{
    static const char *const bad[] = {
        "press-12",       "DNS:",        "DNS:a..b",  "DNS:-a",     "DNS:a-",    "DNS:a b",
        "DNS:\xc3\xbc.x", "DNS:a.",      "DNS:.a",    "DNS:*",      "URI:",      "URI:a",
        "URI:a:",         "URI:1a:b",    "URI:a:b c", "URI:a:\xc3", "email:a",   "email:@b",
        "email:a@b@c",    "email:a b@c", "email:a@",  "IP:",        "IP:1.2.3",  "IP:1.2.3.4/8",
        "IP:::g",         "DNS :a",      " DNS:a",    "OTHER:a",    "URI:a:<b>", "DNS:a-.b",
    };
    struct san san;
    struct err err = {0};
    char text[1100];

    (void)unused;
    takes_san("DNS:press-12.sensors.example.com", SAN_DNS, "press-12.sensors.example.com", 0);
    takes_san("dns:Press_12", SAN_DNS, "Press_12", 0);
    takes_san("DNS:*.example.com", SAN_DNS, "*.example.com", 0);
    takes_san("URI:urn:certflip:gw:press-12", SAN_URI, "urn:certflip:gw:press-12", 0);
    takes_san("URI:spiffe://plant/press-12", SAN_URI, "spiffe://plant/press-12", 0);
    takes_san("email:ops@example.com", SAN_EMAIL, "ops@example.com", 0);
    takes_san("IP:192.0.2.7", SAN_IP, "192.0.2.7", 4);
    takes_san("IP:2001:db8::7", SAN_IP, "2001:db8::7", 16);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (san_parse(bad[i], &san, &err) == 0)
            fail_msg("%s was taken", bad[i]);
    memset(text, 'a', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    assert_true(san_parse(text, &san, &err) < 0);
    memcpy(text, "DNS:", 4);
    text[4 + 64] = '\0'; /* a label of 64 */
    assert_true(san_parse(text, &san, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subjects_are_read_as_rfc_4514_has_them),
        cmocka_unit_test(what_is_no_subject_is_refused_with_the_reason),
        cmocka_unit_test(alternative_names_are_read_by_their_kind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
