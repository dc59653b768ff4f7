/*
 * Fetch a page by https: the pool does the TLS, and this program finds out whether all of it has come.
 *
 *     cc -D_GNU_SOURCE -o https https.c
 *     ./https www.example.org 443 /index.html
 *
 * It says on standard error who the server has proved to be.
 */
#include "tlstunnel.h"

#include <err.h>
#include <netdb.h>

static int dial(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found, *each;
    int error = getaddrinfo(host, port, &hints, &found), sock = -1;

    if (error != 0)
        errx(1, "%s: %s", host, gai_strerror(error));
    for (each = found; each != NULL && sock < 0; each = each->ai_next) {
        sock = socket(each->ai_family, each->ai_socktype | SOCK_CLOEXEC, each->ai_protocol);
        if (sock >= 0 && connect(sock, each->ai_addr, each->ai_addrlen) < 0) {
            close(sock);
            sock = -1;
        }
    }
    freeaddrinfo(found);
    if (sock < 0)
        err(1, "%s, port %s", host, port);
    return sock;
}

int main(int argc, char **argv)
{
    struct tlstunnel tls;
    char buffer[16384];
    ssize_t count;
    int plain;

    /* The name that must be there is not always the one to connect to. */
    if (argc != 4 && argc != 5)
        errx(2, "usage: https HOST PORT PATH [NAME]");
    const char *name = argc == 5 ? argv[4] : argv[1];

    plain = tlstunnel_start(&tls, dial(argv[1], argv[2]), 15000, "role", "client", "remote", name, "alpn",
                            "http/1.1", NULL);
    if (plain < 0)
        errx(1, "%s: %s", tls.reason, tls.detail);
    warnx("this is %s, %s", tlstunnel_get(&tls, "remote"), tlstunnel_get(&tls, "version"));

    /* To a connection that is gone send() gives an error, and not a signal. */
    count = snprintf(buffer, sizeof buffer, "GET %s HTTP/1.0\r\nHost: %s\r\n\r\n", argv[3], name);
    if (count >= (ssize_t)sizeof buffer || send(plain, buffer, (size_t)count, MSG_NOSIGNAL) != count)
        errx(1, "cannot ask");
    while ((count = read(plain, buffer, sizeof buffer)) > 0)
        fwrite(buffer, 1, (size_t)count, stdout);
    if (count < 0)
        warn("not all of it could be read");
    if (fflush(stdout) != 0 || ferror(stdout))
        errx(1, "standard output takes no more");

    /* In HTTP/1.0 the end of the page is that of the connection: is it the end, or a cut? */
    if (strcmp(tlstunnel_ended(&tls, 15000), "closed") != 0 || count < 0)
        errx(1, "this is not all of it: %s", tlstunnel_ended(&tls, 0));
    close(plain);
    tlstunnel_close(&tls);
    return 0;
}
