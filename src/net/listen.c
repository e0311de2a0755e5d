#include "net/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

static int bind_one(const struct sockaddr *sa, socklen_t len, bool any, bool share)
{
    const int on = 1, off = 0;
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (share)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    if (sa->sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, any ? &off : &on, sizeof on);
    if (bind(fd, sa, len) != 0) {
        int errnum = errno;
        close(fd);
        return -errnum;
    }
    return fd;
}

/* SO_REUSEADDR without SO_REUSEPORT: bind succeeds beside a socket in TIME_WAIT, but listen() fails
 * where another one listens. */
static int probe_port(const struct sockaddr *sa, socklen_t len, bool any)
{
    int fd = bind_one(sa, len, any, false);

    if (fd < 0)
        return fd;
    int rc = listen(fd, 1) == 0 ? 0 : -errno;
    close(fd);
    return rc;
}

static const char *bind_remedy(int errnum)
{
    switch (errnum) {
    case EADDRINUSE:
        return "another program has the port: see `ss -ltnp`, or choose another";
    case EACCES:
        return "ports below 1024 need CAP_NET_BIND_SERVICE";
    case EADDRNOTAVAIL:
        return "no interface has this address: see `ip addr`";
    default:
        return "check address and port";
    }
}

int listen_tcp(const char *address, uint16_t port, bool probe, struct err *err)
{
    struct sockaddr_storage ss = {0};
    struct sockaddr *sa = (struct sockaddr *)&ss;
    bool any = strcmp(address, "*") == 0;
    socklen_t len = sizeof(struct sockaddr_in6);

    if (any || uv_ip6_addr(address, port, (struct sockaddr_in6 *)&ss) == 0) {
        if (any)
            uv_ip6_addr("::", port, (struct sockaddr_in6 *)&ss);
    } else if (uv_ip4_addr(address, port, (struct sockaddr_in *)&ss) == 0) {
        len = sizeof(struct sockaddr_in);
    } else {
        return err_set(err, ERR_INVALID, "address \"%s\": not an IP address and not \"*\"",
                       address);
    }
    int rc = probe ? probe_port(sa, len, any) : 0;
    int fd = rc == 0 ? bind_one(sa, len, any, true) : rc;
    if (any && fd == -EAFNOSUPPORT) {
        uv_ip4_addr("0.0.0.0", port, (struct sockaddr_in *)&ss);
        fd = bind_one(sa, sizeof(struct sockaddr_in), false, true);
    }
    if (fd < 0)
        return err_set(err, ERR_IO, "%s port %u: %s: %s", address, port, strerrordesc_np(-fd),
                       bind_remedy(-fd));
    return fd;
}

static bool somebody_listens(const struct sockaddr_un *sun)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool live = fd >= 0 && connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0;

    if (fd >= 0)
        close(fd);
    return live;
}

int listen_unix(const char *path, struct err *err)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof sun.sun_path)
        return err_set(err, ERR_INVALID, "%s: a socket's path has at most %zu bytes", path,
                       sizeof sun.sun_path - 1);
    memcpy(sun.sun_path, path, strlen(path));
    if (somebody_listens(&sun))
        return err_set(err, ERR_EXISTS,
                       "%s: another process listens here: is certflipd running already?", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_errno(err, errno, "%s: socket", path);
    (void)unlink(path);
    mode_t mask = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&sun, sizeof sun);
    int errnum = errno;
    umask(mask);
    if (rc != 0) {
        close(fd);
        return err_errno(err, errnum,
                         "%s: cannot be made: check that its folder exists and is ours", path);
    }
    return fd;
}
