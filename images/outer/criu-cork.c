/*
 * Loaded into CRIU (LD_PRELOAD, by the script `criu` that runc finds first): keeps a dump's
 * connection to the page server uncorked.
 *
 * CRIU 4.2.1 sets TCP_CORK on it and ends with a message of 24 bytes that nothing follows: the
 * kernel keeps it for up to 200 ms (man 7 tcp), and the service frozen as long. Measured: 150 ms of
 * a dump of 230 ms. Corking gains nothing there, as pages are spliced in large pieces.
 *
 * Only that connection is meant: the supervisor says its port on 127.0.0.1 in UMS_PAGE_SERVER_PORT.
 * A service's own sockets keep what they had. Can go when CRIU uncorks before it disconnects.
 */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

static int is_page_server(int fd) {
  const char *port = getenv("UMS_PAGE_SERVER_PORT");
  struct sockaddr_in peer;
  socklen_t length = sizeof peer;
  if (port == NULL || getpeername(fd, (struct sockaddr *)&peer, &length) != 0) return 0;
  return peer.sin_family == AF_INET && peer.sin_addr.s_addr == htonl(INADDR_LOOPBACK) &&
         ntohs(peer.sin_port) == atoi(port);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
  static int (*next)(int, int, int, const void *, socklen_t);
  if (next == NULL) {
    next = (int (*)(int, int, int, const void *, socklen_t))dlsym(RTLD_NEXT, "setsockopt");
  }
  /* The value of both options is the same: on. */
  if (level == IPPROTO_TCP && name == TCP_CORK && is_page_server(fd)) name = TCP_NODELAY;
  return next(fd, level, name, value, length);
}
