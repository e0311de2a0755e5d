#include "fleet/command.h"

#include <string.h>

#include "base/buf.h"
#include "cli/table.h"

struct campaign *fleet_command_campaign(const struct fleet_command *c, struct err *err)
{
    const char *path = c->line->args[0];
    struct buf faults = {0};
    unsigned count = 0;
    struct campaign *campaign = campaign_load(path, CAMPAIGN_BROKER, &faults, &count);

    if (campaign == NULL && faults.len > 0 && buf_append_u8(&faults, 0) == 0) {
        for (char *line = (char *)faults.p, *end; (end = strchr(line, '\n')) != NULL;
             line = end + 1) {
            *end = '\0';
            table_text(c->err.to, c->err.colour, TABLE_PLAIN, line);
            fputc('\n', c->err.to);
        }
    }
    if (campaign == NULL)
        err_set(err, ERR_INVALID, "%s: %u %s in the campaign file: see certflip-fleet.conf(5)",
                path, count, count == 1 ? "fault" : "faults");
    buf_fini(&faults);
    return campaign;
}

enum fleet_status fleet_status_of(int rc)
{
    switch (-rc) {
    case 0:
        return FLEET_STATUS_DONE;
    case ERR_CLOSED:
    case ERR_STORE:
        return FLEET_STATUS_UNREACHABLE;
    case ERR_BUSY:
        return FLEET_STATUS_STOPPED;
    default:
        return FLEET_STATUS_REFUSED;
    }
}
