/* lint/kind.c - the table of lint.h, and what was found. */
#include <stdlib.h>

#include "lint/lint.h"

#define ROW(id, code, x509, severity, help, remedy) [id] = {code, x509, severity, help, remedy},
static const struct lint_kind kinds[LINT_CODES] = {LINT_FINDINGS(ROW)};
#undef ROW

const struct lint_kind *lint_kind(enum lint_code code)
{
    return &kinds[code];
}

const char *lint_severity_name(enum lint_severity s)
{
    static const char *const names[] = {
        [LINT_INFO] = "info", [LINT_WARNING] = "warning", [LINT_ERROR] = "error"};

    return names[s];
}

const struct lint_finding *lint_worst(const struct lint_report *r)
{
    return r->count == 0 ? NULL : &r->all[0];
}

bool lint_has(const struct lint_report *r, enum lint_code code)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->all[i].code == code)
            return true;
    return false;
}

void lint_report_fini(struct lint_report *r)
{
    free(r->all);
    *r = (struct lint_report){0};
}
