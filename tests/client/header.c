/*
 * Does with docs/example/pool/tlstunnel.h what its arguments say, on a connection at descriptor 3, and prints
 * what comes of it:
 *
 *     header TIMEOUT ROLE REMOTE [STARTTLS [STEP...]]
 *
 * A STEP is one of verify, export, context, certificate, read, ended.
 */
#include "tlstunnel.h"

static int failed(const struct tlstunnel *t)
{
    printf("%s: %s\n", t->reason, t->detail);
    return 0;
}

static int step(struct tlstunnel *t, int plain, const char *what)
{
    unsigned char material[4];
    char buffer[64];
    char *chain;
    ssize_t count;

    if (strcmp(what, "verify") == 0) {
        if (send(plain, "greeting", 8, MSG_NOSIGNAL) != 8 || tlstunnel_verify(t, 15000) < 0)
            return failed(t);
        return printf("verified\n");
    }
    if (strcmp(what, "export") == 0 || strcmp(what, "context") == 0) {
        const char *context = *what == 'c' ? "\n\xff" : NULL;
        if (tlstunnel_export(t, "EXPORTER-Test", context, context == NULL ? 0 : 2, material, 4) < 0)
            return failed(t);
        return printf("%02x%02x%02x%02x\n", material[0], material[1], material[2], material[3]);
    }
    if (strcmp(what, "certificate") == 0) {
        chain = tlstunnel_certificate(t);
        if (chain == NULL)
            return failed(t);
        printf("%s", chain);
        free(chain);
        return 0;
    }
    if (strcmp(what, "read") == 0) {
        while ((count = read(plain, buffer, sizeof buffer)) > 0)
            printf("%.*s\n", (int)count, buffer);
        return printf("end\n");
    }
    return printf("%s\n", tlstunnel_ended(t, 200));
}

int main(int argc, char **argv)
{
    struct tlstunnel t;
    int plain, each;

    if (argc < 4)
        return 2;
    plain = tlstunnel_start(&t, 3, atoi(argv[1]), "role", argv[2], "remote", argv[3], "starttls",
                            argc > 4 && *argv[4] ? argv[4] : NULL, NULL);
    if (plain < 0) {
        failed(&t);
    } else {
        printf("remote=%s name=%s alpn=%s\n", tlstunnel_get(&t, "remote"), tlstunnel_get(&t, "name"),
               tlstunnel_get(&t, "alpn"));
        for (each = 5; each < argc; each++)
            step(&t, plain, argv[each]);
        close(plain);
        tlstunnel_close(&t);
    }
    /* The connection and all that came with it are closed: the next descriptor is the one that was handed over. */
    printf("next %d\n", dup(0));
    return 0;
}
