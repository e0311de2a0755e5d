#include "control/lint_json.h"

#include <jansson.h>

static json_t *finding(const struct lint_finding *f)
{
    const struct lint_kind *kind = lint_kind(f->code);

    return json_pack("{s:s, s:s, s:s?, s:o, s:s, s:s}", "code", kind->code, "severity",
                     lint_severity_name(f->severity), "x509", kind->x509, "depth",
                     f->depth < 0 ? json_null() : json_integer(f->depth), "message", f->text,
                     "remedy", kind->remedy);
}

struct json_t *lint_json(const struct lint_report *r, bool anchors)
{
    const struct lint_finding *worst = lint_worst(r);
    json_t *all = json_array();

    for (size_t i = 0; i < r->count; i++)
        (void)json_array_append_new(all, finding(&r->all[i]));
    return json_pack("{s:s?, s:o, s:o}", "worst",
                     worst == NULL ? NULL : lint_severity_name(worst->severity), "trusted",
                     anchors ? json_boolean(r->trusted) : json_null(), "findings", all);
}
