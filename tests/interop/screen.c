/*
 * A viewer made of libvncclient: connects, reads the screen once, and says how it was let in.
 *
 * screen HOST PORT PASSWORD [USER [ANCHORS]]
 */

#include <rfb/rfbclient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char **words;
static int updates;

static char *password(rfbClient *client) {
    (void)client;
    return strdup(words[3]);
}

static rfbCredential *credential(rfbClient *client, int type) {
    rfbCredential *found = calloc(1, sizeof *found);

    (void)client;
    if (type == rfbCredentialTypeUser) {
        found->userCredential.username = strdup(words[4]);
        found->userCredential.password = strdup(words[3]);
    } else {
        found->x509Credential.x509CACertFile = strdup(words[5]);
    }
    return found;
}

static void updated(rfbClient *client, int x, int y, int width, int height) {
    (void)client, (void)x, (void)y, (void)width, (void)height;
    updates++;
}

int main(int count, char **given) {
    words = given;
    if (count < 4)
        return 2;
    rfbClient *client = rfbGetClient(8, 3, 4);
    client->GetPassword = password;
    if (count > 4)
        client->GetCredential = credential;
    client->GotFrameBufferUpdate = updated;
    client->serverHost = strdup(words[1]);
    client->serverPort = atoi(words[2]);
    if (count > 5) {
        uint32_t types[] = {rfbVeNCrypt};
        SetClientAuthSchemes(client, types, 1);
    }
    if (!rfbInitClient(client, NULL, NULL))
        return 1;
    while (!updates) {
        int ready = WaitForMessage(client, 10000000);
        if (ready <= 0 || !HandleRFBServerMessage(client))
            return 1;
    }
    printf("%dx%d, security type %u, subtype %u\n", client->width, client->height,
           client->authScheme, client->authScheme == rfbVeNCrypt ? client->subAuthScheme : 0);
    rfbClientCleanup(client);
    return 0;
}
