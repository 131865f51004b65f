// Fast stub of an OpenAI-compatible HTTP/1.1 API, loopback only, one thread, epoll, no dependencies.
// Build: make.  Options: ./stub.out --help.  ../rig.py describes the text -> vector / reply map.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64; typedef uint32_t u32; typedef uint8_t u8; typedef int64_t i64;

// ---------------------------------------------------------------- options
static struct {
  int port, cpu, seed, max_inputs, default_dims, default_completion, reply_tokens, count_429, no_limit_headers, backlog;
  double latency_ms, jitter_ms, sigma, per_input_us, slow_ms;
  int dist;                       // 0 const, 1 uniform, 2 normal, 3 lognormal
  double rpm, tpm, burst_s, init_frac, tpb_low, tpb_high; i64 max_request_tokens;
  double f500, f503, freset, fhang, ftrunc, fmalf, fslow, ffilter;   // percent
} O = {.port = 8400, .cpu = -1, .seed = 1, .max_inputs = 2048, .default_dims = 1536, .default_completion = 16,
       .reply_tokens = 32, .backlog = 4096, .sigma = 0.5, .slow_ms = 30000, .burst_s = 10, .init_frac = 1};

static void usage(void) {
  puts("stub [--port 8400] [--cpu N] [--seed N]\n"
       "  latency : --latency-ms MEAN [--dist const|uniform|normal|lognormal] [--jitter-ms J] [--sigma S] [--per-input-us U]\n"
       "            (uniform: MEAN+-J; normal: sd J; lognormal: mean MEAN, shape S)\n"
       "  limits  : --rpm R --tpm T [--burst-s 10] [--init-frac 1] [--count-429] [--max-request-tokens 0=off] [--max-inputs 2048]\n"
       "            bucket capacity = rate * burst-s, refilled continuously; starts at init-frac of the capacity\n"
       "  faults %: --f500 P --f503 P --freset P --fhang P --ftrunc P --fmalf P --fslow P [--slow-ms 30000] --ffilter P (per text)\n"
       "  tokens  : --tokens-per-byte-low L --tokens-per-byte-high H (a tokenizer with L to H tokens per byte, depending on the text)\n"
       "            --no-limit-headers (no x-ratelimit-*)\n"
       "  record  : --log FILE (a line per request that reached the limits: seconds of the monotonic clock, 200 or 429,\n"
       "            rows, tokens, hash of the first text)\n"
       "  replies : --dims 1536 --reply-tokens 32 --default-completion 16 (charged when max_tokens is absent)");
  exit(2);
}

// ---------------------------------------------------------------- small helpers
static u64 now_ns(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return (u64)t.tv_sec * 1000000000ull + t.tv_nsec; }
static double wall(void) { struct timespec t; clock_gettime(CLOCK_REALTIME, &t); return t.tv_sec + t.tv_nsec * 1e-9; }
static u64 rng_s = 88172645463325252ull;
static u64 rng(void) { u64 z = (rng_s += 0x9E3779B97F4A7C15ull); z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull; z = (z ^ (z >> 27)) * 0x94D049BB133111EBull; return z ^ (z >> 31); }
static double rnd(void) { return (rng() >> 11) * (1.0 / 9007199254740992.0); }
static double gauss(void) { double u = rnd(), v = rnd(); if (u < 1e-300) u = 1e-300; return sqrt(-2 * log(u)) * cos(6.283185307179586 * v); }
static void *xrealloc(void *p, size_t n) { p = realloc(p, n); if (!p) { perror("realloc"); exit(1); } return p; }

static u32 T8[8][256];
static void crc_init(void) {
  for (u32 i = 0; i < 256; i++) { u32 c = i; for (int k = 0; k < 8; k++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1; T8[0][i] = c; }
  for (u32 i = 0; i < 256; i++) for (int k = 1; k < 8; k++) T8[k][i] = (T8[k - 1][i] >> 8) ^ T8[0][T8[k - 1][i] & 255];
}
static u32 crc32b(const u8 *p, size_t n) {
  u32 c = 0xFFFFFFFFu;
  while (n >= 8) {
    u64 v; memcpy(&v, p, 8); v ^= c;
    c = T8[7][v & 255] ^ T8[6][(v >> 8) & 255] ^ T8[5][(v >> 16) & 255] ^ T8[4][(v >> 24) & 255] ^
        T8[3][(v >> 32) & 255] ^ T8[2][(v >> 40) & 255] ^ T8[1][(v >> 48) & 255] ^ T8[0][v >> 56];
    p += 8; n -= 8;
  }
  while (n--) c = (c >> 8) ^ T8[0][(c ^ *p++) & 255];
  return ~c;
}
static u32 adler32b(const u8 *p, size_t n) {
  u32 a = 1, b = 0;
  while (n) { size_t k = n > 5552 ? 5552 : n; n -= k; while (k--) { a += *p++; b += a; } a %= 65521; b %= 65521; }
  return b << 16 | a;
}
static u64 thash(const char *p, size_t n) { return (u64)adler32b((const u8 *)p, n) << 32 | crc32b((const u8 *)p, n); }
static FILE *record;
static void record_line(u64 t, int status, int rows, i64 tokens, u64 h) {
  if (record) fprintf(record, "%.6f %d %d %lld %016llx\n", t * 1e-9, status, rows, (long long)tokens, (unsigned long long)h);
}
// tokens of a text: a quarter of its bytes, or with --tokens-per-byte-* a share between the two by the text's hash
static i64 text_tokens(u64 h, size_t n) {
  if (O.tpb_high <= 0) return (i64)(n + 3) / 4;
  double u = (h * 0x9E3779B97F4A7C15ull >> 11) * (1.0 / 9007199254740992.0);
  return (i64)ceil(n * (O.tpb_low + u * (O.tpb_high - O.tpb_low)));
}

// ---------------------------------------------------------------- vector pool
#define POOL 256
#define MAXD 3072
#define HEADF 6                    // the first 6 floats carry the text's hash and length
static float pv[POOL][MAXD];
static char *ptxt[POOL]; static u32 *poff[POOL];      // text of floats 6.., offset of each
static char *pb64[POOL];                              // base64 of the bytes of floats 6.. (24 bytes in: aligned)
static const char B64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static size_t b64enc(const u8 *s, size_t n, char *d) {
  char *o = d; size_t i = 0;
  for (; i + 2 < n; i += 3) { u32 v = s[i] << 16 | s[i + 1] << 8 | s[i + 2]; *o++ = B64[v >> 18]; *o++ = B64[v >> 12 & 63]; *o++ = B64[v >> 6 & 63]; *o++ = B64[v & 63]; }
  if (n - i == 1) { u32 v = s[i] << 16; *o++ = B64[v >> 18]; *o++ = B64[v >> 12 & 63]; *o++ = '='; *o++ = '='; }
  if (n - i == 2) { u32 v = s[i] << 16 | s[i + 1] << 8; *o++ = B64[v >> 18]; *o++ = B64[v >> 12 & 63]; *o++ = B64[v >> 6 & 63]; *o++ = '='; }
  return o - d;
}
static void pool_init(void) {
  for (int k = 0; k < POOL; k++) {
    u64 s = (u64)k * 0x9E3779B97F4A7C15ull + 1;
    ptxt[k] = xrealloc(0, MAXD * 18); poff[k] = xrealloc(0, (MAXD + 1) * sizeof(u32)); pb64[k] = xrealloc(0, MAXD * 6);
    u32 o = 0;
    for (int i = 0; i < MAXD; i++) {
      s = s * 6364136223846793005ull + 1442695040888963407ull;
      pv[k][i] = ((float)(int)(s >> 40) - 8388608.0f) * (1.0f / 134217728.0f);
      poff[k][i] = o;
      if (i >= HEADF) o += sprintf(ptxt[k] + o, "%.9g,", pv[k][i]);
    }
    poff[k][MAXD] = o;
    b64enc((u8 *)(pv[k] + HEADF), (MAXD - HEADF) * 4, pb64[k]);
  }
}

// ---------------------------------------------------------------- statistics, limits
#define HIST 7200
static struct {
  u64 http, requests, adm_req, adm_rows, adm_tok, ok_req, ok_rows, ok_tok, r429, r429_req, r429_tok, too_large, bad, filtered, notfound;
  u64 f500, f503, freset, fhang, ftrunc, fmalf, fslow, client_gone, bytes_out, conns_total, rows_max, repeat_rows;
  int inflight, inflight_peak, conns, conns_peak;
  u64 first_ns, last_ns, first_req_ns, last_ok_ns; double first_wall, last_wall;
  double init_req, init_tok;
} S;
static u32 h_req[HIST], h_rows[HIST], h_429[HIST]; static u64 h_tok[HIST];
static u64 t_start; static double cpu0;
static double cpu_s(void) { struct rusage r; getrusage(RUSAGE_SELF, &r); return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1e-6; }

static u64 *hs; static size_t hs_cap, hs_n;         // hashes of rows answered in full
static int seen_add(u64 h) {                        // 1 when new
  if (!h) h = 1;
  if (hs_n * 2 >= hs_cap) {
    size_t oc = hs_cap; u64 *o = hs; hs_cap = oc ? oc * 2 : 1 << 16; hs = calloc(hs_cap, 8); hs_n = 0;
    for (size_t i = 0; i < oc; i++) if (o[i]) seen_add(o[i]);
    free(o);
  }
  size_t i = (h * 0x9E3779B97F4A7C15ull) >> 20 & (hs_cap - 1);
  while (hs[i]) { if (hs[i] == h) return 0; i = (i + 1) & (hs_cap - 1); }
  hs[i] = h; hs_n++; return 1;
}

static double rb, tb, rcap, tcap, rrate, trate; static u64 refill_ns;
static void limits_init(void) {
  rrate = O.rpm / 60; trate = O.tpm / 60;
  rcap = O.rpm ? fmax(1, rrate * O.burst_s) : 0; tcap = trate * O.burst_s;
  rb = fmax(O.rpm ? 1 : 0, rcap * O.init_frac); tb = tcap * O.init_frac; refill_ns = now_ns();
}
static void refill(u64 t) {
  double d = (t - refill_ns) * 1e-9; refill_ns = t;
  rb = fmin(rcap, rb + d * rrate); tb = fmin(tcap, tb + d * trate);
}
static void stats_reset(void) {
  int fl = S.inflight, cn = S.conns;
  memset(&S, 0, sizeof S); S.inflight = S.inflight_peak = fl; S.conns = S.conns_peak = cn;
  memset(h_req, 0, sizeof h_req); memset(h_rows, 0, sizeof h_rows); memset(h_429, 0, sizeof h_429); memset(h_tok, 0, sizeof h_tok);
  free(hs); hs = 0; hs_cap = hs_n = 0; limits_init(); rng_s = (u64)O.seed * 0xD1342543DE82EF95ull + 88172645463325252ull;
  t_start = now_ns(); cpu0 = cpu_s();
}

// ---------------------------------------------------------------- connections
enum { ST_READ, ST_WAIT, ST_WRITE, ST_HANG };
enum { K_EMB, K_CHAT, K_COMP, K_RESP };
enum { F_NONE, F_500, F_503, F_RESET, F_HANG, F_TRUNC, F_MALF, F_SLOW, F_FILTER };
typedef struct { u64 h; u32 len; } row;
typedef struct conn {
  int fd, state, kind, azure, b64, dims, n_rows, rows_cap, fault, close_after, abort_after, want_out, heap_i, counted, n_choices, json_reply;
  char *in; size_t in_len, in_cap;
  row *rows; i64 tok_prompt, tok_charge; char model[96]; int model_len;
  struct iovec *iov; int iov_n, iov_cap, iov_i; char *ob; size_t ob_cap; char hd[1200];
  u64 due, t_in; u64 id;
} conn;

static int ep; static u64 seq;
static conn **heap; static int hn, hcap;
static void hswap(int a, int b) { conn *t = heap[a]; heap[a] = heap[b]; heap[b] = t; heap[a]->heap_i = a; heap[b]->heap_i = b; }
static void hup(int i) { while (i && heap[(i - 1) / 2]->due > heap[i]->due) { hswap(i, (i - 1) / 2); i = (i - 1) / 2; } }
static void hdown(int i) { for (;;) { int l = 2 * i + 1, m = i; if (l < hn && heap[l]->due < heap[m]->due) m = l; if (l + 1 < hn && heap[l + 1]->due < heap[m]->due) m = l + 1; if (m == i) return; hswap(i, m); i = m; } }
static void hpush(conn *c) { if (hn == hcap) heap = xrealloc(heap, (hcap = hcap ? hcap * 2 : 1024) * sizeof *heap); heap[hn] = c; c->heap_i = hn++; hup(c->heap_i); }
static void hdel(conn *c) { int i = c->heap_i; if (i < 0) return; hn--; if (i != hn) { heap[i] = heap[hn]; heap[i]->heap_i = i; hup(i); hdown(heap[i]->heap_i); } c->heap_i = -1; }

static void fly_end(conn *c) { if (c->counted) { S.inflight--; c->counted = 0; } }
static conn *dead;                                   // freed after the event batch
static void conn_close(conn *c, int rst) {
  if (c->fd < 0) return;
  if (rst) { struct linger l = {1, 0}; setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l); }
  if (c->state != ST_READ && !rst && !c->abort_after && !c->close_after) S.client_gone++;
  fly_end(c); hdel(c); close(c->fd); c->fd = -1; S.conns--;
  c->due = (u64)(uintptr_t)dead; dead = c;
}
static void reap(void) { while (dead) { conn *c = dead; dead = (conn *)(uintptr_t)c->due; free(c->in); free(c->rows); free(c->iov); free(c->ob); free(c); } }

static void add_iov(conn *c, const void *p, size_t n) {
  if (c->iov_n == c->iov_cap) c->iov = xrealloc(c->iov, (c->iov_cap = c->iov_cap ? c->iov_cap * 2 : 16) * sizeof *c->iov);
  c->iov[c->iov_n].iov_base = (void *)p; c->iov[c->iov_n++].iov_len = n;
}
static void process(conn *c);

static void flush_out(conn *c) {
  while (c->iov_i < c->iov_n) {
    int k = c->iov_n - c->iov_i; if (k > 1000) k = 1000;
    struct msghdr m = {.msg_iov = c->iov + c->iov_i, .msg_iovlen = k};
    ssize_t w = sendmsg(c->fd, &m, MSG_NOSIGNAL);
    if (w < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) {
        if (!c->want_out) { struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP | EPOLLOUT, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->want_out = 1; }
        return;
      }
      conn_close(c, 0); return;
    }
    S.bytes_out += w;
    while (w > 0) { struct iovec *v = c->iov + c->iov_i; if ((size_t)w >= v->iov_len) { w -= v->iov_len; c->iov_i++; } else { v->iov_base = (char *)v->iov_base + w; v->iov_len -= w; w = 0; } }
  }
  fly_end(c);
  if (c->abort_after || c->close_after) { conn_close(c, 0); return; }
  if (c->want_out) { struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->want_out = 0; }
  c->state = ST_READ;
  if (c->in_len) process(c);
}

static int dur(char *d, double s, int azure) {        // OpenAI writes 120ms / 1.5s / 6m0s, Azure whole seconds
  if (azure) return sprintf(d, "%d", (int)ceil(s));
  if (s < 1) return sprintf(d, "%dms", (int)ceil(s * 1000));
  if (s < 60) return sprintf(d, "%.3gs", s);
  return sprintf(d, "%dm%ds", (int)(s / 60), (int)s % 60);
}
static const char *reason(int st) { return st == 200 ? "OK" : st == 400 ? "Bad Request" : st == 404 ? "Not Found" : st == 411 ? "Length Required" : st == 429 ? "Too Many Requests" : st == 500 ? "Internal Server Error" : st == 503 ? "Service Unavailable" : "Status"; }

// iov[0] is kept for the head; the body's pieces follow it
static void out_begin(conn *c) { c->iov_n = c->iov_i = 0; add_iov(c, "", 0); }
static void out_send(conn *c, int status, int limited, double retry_s) {
  size_t n = 0; for (int i = 1; i < c->iov_n; i++) n += c->iov[i].iov_len;
  char *p = c->hd;
  p += sprintf(p, "HTTP/1.1 %d %s\r\ncontent-type: application/json\r\ncontent-length: %zu\r\nx-request-id: req_%016llx\r\n", status, reason(status), n, (unsigned long long)c->id);
  if (limited && !O.no_limit_headers) {
    char a[32], b[32]; u64 t = now_ns(); refill(t);
    double lr = O.rpm ? O.rpm : 10000000, lt = O.tpm ? O.tpm : 1000000000.0;
    dur(a, O.rpm ? (rcap - rb) / rrate : 0, c->azure); dur(b, O.tpm ? (tcap - tb) / trate : 0, c->azure);
    p += sprintf(p, "openai-processing-ms: %d\r\nopenai-version: 2020-10-01\r\nx-ratelimit-limit-requests: %.0f\r\nx-ratelimit-limit-tokens: %.0f\r\nx-ratelimit-remaining-requests: %.0f\r\nx-ratelimit-remaining-tokens: %.0f\r\nx-ratelimit-reset-requests: %s\r\nx-ratelimit-reset-tokens: %s\r\n",
                 (int)((t - c->t_in) / 1000000), lr, lt, O.rpm ? floor(rb) : lr, O.tpm ? floor(tb) : lt, a, b);
  }
  if (retry_s > 0) p += sprintf(p, "retry-after-ms: %d\r\nretry-after: %d\r\n", (int)ceil(retry_s * 1000), (int)ceil(retry_s));
  p += sprintf(p, c->close_after ? "connection: close\r\n\r\n" : "\r\n");
  c->iov[0].iov_base = c->hd; c->iov[0].iov_len = p - c->hd;
  if (c->abort_after) {                               // truncated: half of the body, then FIN
    size_t keep = n / 2; int i = 1;
    for (; i < c->iov_n; i++) { if (c->iov[i].iov_len > keep) { c->iov[i].iov_len = keep; i++; break; } keep -= c->iov[i].iov_len; }
    c->iov_n = i;
  }
  c->state = ST_WRITE; flush_out(c);
}
static void ob_need(conn *c, size_t n) { if (c->ob_cap < n) c->ob = xrealloc(c->ob, c->ob_cap = n); }
static void send_err(conn *c, int status, const char *type, const char *code, double retry, const char *fmt, ...) {
  char msg[512]; va_list ap; va_start(ap, fmt); vsnprintf(msg, sizeof msg, fmt, ap); va_end(ap);
  ob_need(c, 1400); int n;
  if (code && !strcmp(code, "content_filter"))
    n = sprintf(c->ob, "{\"error\":{\"message\":\"%s\",\"type\":null,\"param\":\"prompt\",\"code\":\"content_filter\",\"status\":400,\"innererror\":{\"code\":\"ResponsibleAIPolicyViolation\",\"content_filter_result\":{\"hate\":{\"filtered\":true,\"severity\":\"high\"},\"jailbreak\":{\"filtered\":false,\"detected\":false}}}}}", msg);
  else if (code) n = sprintf(c->ob, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":\"%s\"}}", msg, type, code);
  else n = sprintf(c->ob, "{\"error\":{\"message\":\"%s\",\"type\":\"%s\",\"param\":null,\"code\":null}}", msg, type);
  out_begin(c); add_iov(c, c->ob, n); out_send(c, status, 1, retry);
}

// ---------------------------------------------------------------- JSON scanning
static const char *ws(const char *p, const char *e) { while (p < e && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t')) p++; return p; }
static const char *str_end(const char *p, const char *e, int *esc) {   // p: after the opening quote; returns the closing quote
  const char *q = p;
  for (;;) { q = memchr(q, '"', e - q); if (!q) return 0; const char *b = q; while (b > p && b[-1] == '\\') b--; if (((q - b) & 1) == 0) break; q++; }
  *esc = memchr(p, '\\', q - p) != 0; return q;
}
static const char *skip_val(const char *p, const char *e) {
  p = ws(p, e); if (p >= e) return 0;
  int esc;
  if (*p == '"') { p = str_end(p + 1, e, &esc); return p ? p + 1 : 0; }
  if (*p == '{' || *p == '[') {
    int d = 0;
    while (p < e) { if (*p == '"') { p = str_end(p + 1, e, &esc); if (!p) return 0; } else if (*p == '{' || *p == '[') d++; else if (*p == '}' || *p == ']') { if (--d == 0) return p + 1; } p++; }
    return 0;
  }
  while (p < e && *p != ',' && *p != '}' && *p != ']' && *p != ' ' && *p != '\n' && *p != '\r' && *p != '\t') p++;
  return p;
}
static char *scr; static size_t scr_cap, scr_n;
static int hex4(const char *p) { int v = 0; for (int i = 0; i < 4; i++) { int ch = p[i]; v = v * 16 + (ch <= '9' ? ch - '0' : (ch | 32) - 'a' + 10); } return v; }
static void scr_unescape(const char *p, const char *e) {             // appends to the scratch
  if (scr_cap < scr_n + (e - p) + 8) scr = xrealloc(scr, scr_cap = (scr_n + (e - p) + 8) * 2);
  char *o = scr + scr_n;
  while (p < e) {
    if (*p != '\\') { *o++ = *p++; continue; }
    p++; int ch = *p++;
    switch (ch) {
      case 'n': *o++ = '\n'; break; case 't': *o++ = '\t'; break; case 'r': *o++ = '\r'; break; case 'b': *o++ = '\b'; break; case 'f': *o++ = '\f'; break;
      case 'u': {
        if (e - p < 4) { p = e; break; }
        u32 v = hex4(p); p += 4;
        if (v >= 0xD800 && v < 0xDC00 && e - p >= 6 && p[0] == '\\' && p[1] == 'u') { u32 w = hex4(p + 2); if (w >= 0xDC00 && w < 0xE000) { v = 0x10000 + ((v - 0xD800) << 10) + (w - 0xDC00); p += 6; } }
        if (v < 0x80) *o++ = v; else if (v < 0x800) { *o++ = 0xC0 | v >> 6; *o++ = 0x80 | (v & 63); }
        else if (v < 0x10000) { *o++ = 0xE0 | v >> 12; *o++ = 0x80 | (v >> 6 & 63); *o++ = 0x80 | (v & 63); }
        else { *o++ = 0xF0 | v >> 18; *o++ = 0x80 | (v >> 12 & 63); *o++ = 0x80 | (v >> 6 & 63); *o++ = 0x80 | (v & 63); }
        break; }
      default: *o++ = ch;
    }
  }
  scr_n = o - scr;
}
static row *new_row(conn *c) { if (c->n_rows == c->rows_cap) c->rows = xrealloc(c->rows, (c->rows_cap = c->rows_cap ? c->rows_cap * 2 : 4) * sizeof(row)); return &c->rows[c->n_rows++]; }
static const char *row_string(conn *c, const char *p, const char *e) {   // p at the quote
  int esc; const char *q = str_end(p + 1, e, &esc); if (!q) return 0;
  row *r = new_row(c); const char *s = p + 1; size_t n = q - s;
  if (esc) { scr_n = 0; scr_unescape(s, q); s = scr; n = scr_n; }
  r->h = thash(s, n); r->len = n; c->tok_prompt += text_tokens(r->h, n);
  return q + 1;
}
static const char *row_tokens(conn *c, const char *p, const char *e) {   // p at '[' of an array of integers
  const char *q = skip_val(p, e); if (!q) return 0;
  scr_n = 0; if (scr_cap < (size_t)(q - p)) scr = xrealloc(scr, scr_cap = (q - p) * 2);
  int nt = 1; for (const char *s = p; s < q; s++) { if (*s == ',') nt++; if (*s > ' ') scr[scr_n++] = *s; }
  row *r = new_row(c); r->h = thash(scr, scr_n); r->len = scr_n; c->tok_prompt += nt; return q;
}
static const char *rows_value(conn *c, const char *p, const char *e) {
  p = ws(p, e); if (p >= e) return 0;
  if (*p == '"') return row_string(c, p, e);
  if (*p != '[') return 0;
  const char *q = ws(p + 1, e); if (q >= e) return 0;
  if (*q != '"' && *q != '[') return *q == ']' ? q + 1 : row_tokens(c, p, e);
  p = q;
  for (;;) {
    p = ws(p, e); if (p >= e) return 0;
    p = *p == '"' ? row_string(c, p, e) : *p == '[' ? row_tokens(c, p, e) : 0;
    if (!p) return 0;
    p = ws(p, e); if (p >= e) return 0;
    if (*p == ']') return p + 1;
    if (*p++ != ',') return 0;
  }
}
typedef struct { const char *k; size_t kn; const char *v, *ve; } kv;
// walks one object; returns after '}', calls for each key in turn
static const char *obj_next(const char *p, const char *e, kv *o) {     // p after '{' or after a value; 0 at the end or on error
  int esc; p = ws(p, e); if (p < e && *p == ',') p = ws(p + 1, e);
  if (p >= e || *p != '"') return 0;
  const char *q = str_end(p + 1, e, &esc); if (!q) return 0;
  o->k = p + 1; o->kn = q - p - 1; p = ws(q + 1, e); if (p >= e || *p != ':') return 0;
  o->v = ws(p + 1, e); o->ve = skip_val(o->v, e); return o->ve;
}
static int is(kv *o, const char *s) { return o->kn == strlen(s) && !memcmp(o->k, s, o->kn); }
static size_t content_text(const char *v, const char *ve) {            // a string, or parts with "text"; into the scratch
  int esc; scr_n = 0;
  if (*v == '"') { const char *q = str_end(v + 1, ve, &esc); if (q) scr_unescape(v + 1, q); return scr_n; }
  if (*v == '[') {
    const char *p = v + 1; kv o;
    while ((p = ws(p, ve)) < ve) {
      if (*p == ',') { p++; continue; }
      if (*p == '{') { const char *q = p + 1; while ((q = obj_next(q, ve, &o))) if (is(&o, "text") && *o.v == '"') scr_unescape(o.v + 1, o.ve - 1); }
      else if (*p == ']') break;
      p = skip_val(p, ve); if (!p) break;
    }
  }
  return scr_n;
}
static void messages_value(conn *c, const char *v, const char *ve) {
  row last = {0, 0}; size_t total = 0; int any = 0; const char *p = v + 1; kv o;
  if (*v == '"') { size_t n = content_text(v, ve); row *r = new_row(c); r->h = thash(scr, n); r->len = n; c->tok_prompt += text_tokens(r->h, n); return; }
  while ((p = ws(p, ve)) < ve && *p != ']') {
    if (*p == ',') { p++; continue; }
    const char *me = skip_val(p, ve); if (!me) break;
    if (*p == '{') {
      const char *cv = 0, *ce = 0; int user = 0; const char *q = p + 1;
      while ((q = obj_next(q, me, &o))) { if (is(&o, "role")) user = o.ve - o.v == 6 && !memcmp(o.v, "\"user\"", 6); else if (is(&o, "content")) cv = o.v, ce = o.ve; }
      if (cv) { size_t n = content_text(cv, ce); total += n; if (user || !any) { last.h = thash(scr, n); last.len = n; any = 1; } }
    }
    p = me;
  }
  if (any) *new_row(c) = last;
  c->tok_prompt += any ? text_tokens(last.h, total) : (i64)(total + 3) / 4;
}

// ---------------------------------------------------------------- answers
static const char LOREM[] = " lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut labore et dolore magna aliqua";
static int reply_text(char *d, row *r, int json) {
  char *p = d;
  if (json) { p += sprintf(p, "{\\\"h\\\":\\\"%016llx\\\",\\\"len\\\":%u}", (unsigned long long)r->h, r->len); return p - d; }
  p += sprintf(p, "h=%016llx len=%u", (unsigned long long)r->h, r->len);
  for (int left = O.reply_tokens * 4; left > 0;) { int k = left < (int)sizeof LOREM - 1 ? left : (int)sizeof LOREM - 1; memcpy(p, LOREM, k); p += k; left -= k; }
  return p - d;
}
static char *head6(char *p, row *r, int b64) {
  u32 x[6] = {r->h & 65535, r->h >> 16 & 65535, r->h >> 32 & 65535, r->h >> 48, r->len & 65535, (u32)r->h % POOL};
  if (b64) { float f[6]; for (int i = 0; i < 6; i++) f[i] = x[i] / 100000.0; return p + b64enc((u8 *)f, 24, p); }
  for (int i = 0; i < 6; i++) { u32 v = x[i]; p[0] = '0'; p[1] = '.'; for (int k = 6; k > 1; k--) { p[k] = '0' + v % 10; v /= 10; } p[7] = ','; p += 8; }
  return p;
}
static void respond(conn *c) {
  u64 t = now_ns();
  switch (c->fault) {
    case F_500: S.f500++; send_err(c, 500, "server_error", 0, 0, "The server had an error while processing your request. Sorry about that!"); return;
    case F_503: S.f503++; send_err(c, 503, "service_unavailable", 0, 0, "The engine is currently overloaded, please try again later."); return;
    case F_RESET: S.freset++; conn_close(c, 1); return;
    case F_FILTER: S.filtered++; send_err(c, 400, "", "content_filter", 0, "The response was filtered due to the prompt triggering the content management policy."); return;
    case F_MALF: S.fmalf++; ob_need(c, 256); out_begin(c); add_iov(c, c->ob, sprintf(c->ob, "{\"object\":\"list\",\"data\":[{\"object\":\"embedding\",\"index\":0,\"embedding\":[0.1,0.2")); out_send(c, 200, 1, 0); return;
    case F_TRUNC: S.ftrunc++; c->abort_after = 1; break;
    case F_SLOW: S.fslow++;
  }
  if (c->fault != F_TRUNC) {
    S.ok_req++; S.ok_rows += c->n_rows; S.ok_tok += c->tok_charge; S.last_ok_ns = t;
    for (int i = 0; i < c->n_rows; i++) if (!seen_add(c->rows[i].h)) S.repeat_rows++;
  }
  out_begin(c);
  if (c->kind == K_EMB) {
    int d = c->dims; ob_need(c, 512 + (size_t)c->n_rows * 192); char *p = c->ob, *s = p;
    p += sprintf(p, "{\"object\":\"list\",\"data\":[");
    size_t tail_b = (size_t)(d - HEADF) * 4, whole = tail_b / 3, rem = tail_b % 3;
    for (int i = 0; i < c->n_rows; i++) {
      row *r = c->rows + i; int k = (u32)r->h % POOL;
      if (i) *p++ = ',';
      memcpy(p, "{\"object\":\"embedding\",\"index\":", 30); p += 30;
      { char tmp[12]; int n = 0; int v = i; do tmp[n++] = '0' + v % 10; while (v /= 10); while (n) *p++ = tmp[--n]; }
      memcpy(p, ",\"embedding\":", 13); p += 13; *p++ = c->b64 ? '"' : '[';
      p = head6(p, r, c->b64);
      add_iov(c, s, p - s);
      if (c->b64) {
        add_iov(c, pb64[k], whole * 4); s = p;
        if (rem) { p += b64enc((u8 *)(pv[k] + HEADF) + whole * 3, rem, p); }
        *p++ = '"';
      } else { add_iov(c, ptxt[k], poff[k][d == MAXD ? MAXD : d] - 1); s = p; *p++ = ']'; }
      *p++ = '}';
    }
    p += sprintf(p, "],\"model\":\"%.*s\",\"usage\":{\"prompt_tokens\":%lld,\"total_tokens\":%lld}}", c->model_len, c->model, (long long)c->tok_prompt, (long long)c->tok_prompt);
    add_iov(c, s, p - s);
  } else {
    int nc = c->kind == K_COMP ? c->n_rows : c->n_choices; size_t one = 512 + O.reply_tokens * 4;
    ob_need(c, 2048 + nc * one); char *p = c->ob; long ct = 0; u32 created = (u32)time(0);
    char rt[65536]; unsigned long long id = c->id;
    if (c->kind == K_RESP) {
      int n = reply_text(rt, c->rows, c->json_reply); ct = (n + 3) / 4;
      p += sprintf(p, "{\"id\":\"resp_%016llx\",\"object\":\"response\",\"created_at\":%u,\"status\":\"completed\",\"error\":null,\"incomplete_details\":null,\"instructions\":null,\"model\":\"%.*s\",\"output\":[{\"type\":\"message\",\"id\":\"msg_%016llx\",\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"%.*s\",\"annotations\":[]}]}],\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"metadata\":{},\"usage\":{\"input_tokens\":%lld,\"input_tokens_details\":{\"cached_tokens\":0},\"output_tokens\":%ld,\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":%lld}}",
                   id, created, c->model_len, c->model, id, n, rt, (long long)c->tok_prompt, ct, (long long)c->tok_prompt + ct);
    } else {
      p += sprintf(p, "{\"id\":\"%s-%016llx\",\"object\":\"%s\",\"created\":%u,\"model\":\"%.*s\",\"choices\":[", c->kind == K_CHAT ? "chatcmpl" : "cmpl", id, c->kind == K_CHAT ? "chat.completion" : "text_completion", created, c->model_len, c->model);
      for (int i = 0; i < nc; i++) {
        int n = reply_text(rt, c->rows + (c->kind == K_COMP ? i : 0), c->json_reply); ct += (n + 3) / 4;
        if (i) *p++ = ',';
        if (c->kind == K_CHAT) p += sprintf(p, "{\"index\":%d,\"message\":{\"role\":\"assistant\",\"content\":\"%.*s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}", i, n, rt);
        else p += sprintf(p, "{\"text\":\"%.*s\",\"index\":%d,\"logprobs\":null,\"finish_reason\":\"stop\"}", n, rt, i);
      }
      p += sprintf(p, "],\"usage\":{\"prompt_tokens\":%lld,\"completion_tokens\":%ld,\"total_tokens\":%lld,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0,\"accepted_prediction_tokens\":0,\"rejected_prediction_tokens\":0}},\"service_tier\":\"default\",\"system_fingerprint\":\"fp_stub\"}",
                   (long long)c->tok_prompt, ct, (long long)c->tok_prompt + ct);
    }
    add_iov(c, c->ob, p - c->ob);
  }
  out_send(c, 200, 1, 0);
}

static int hist_json(char *p, const char *name, const void *a, int n, int w) {
  char *s = p; p += sprintf(p, ",\"%s\":[", name);
  for (int i = 0; i < n; i++) p += sprintf(p, "%s%llu", i ? "," : "", w == 8 ? (unsigned long long)((u64 *)a)[i] : (unsigned long long)((u32 *)a)[i]);
  *p++ = ']'; return p - s;
}
static void send_stats(conn *c) {
  int n = S.first_ns ? (int)((now_ns() - S.first_ns) / 1000000000ull) + 1 : 0, last = -1; if (n > HIST) n = HIST;
  for (int i = 0; i < n; i++) if (h_req[i] || h_429[i]) last = i;
  n = last + 1;
  ob_need(c, 8192 + (size_t)n * 64); char *p = c->ob;
  double busy = S.first_ns ? (S.last_ns - S.first_ns) * 1e-9 : 0, at = S.init_tok + trate * busy, ar = S.init_req + rrate * busy;
#define U(x) (unsigned long long)(x)
  p += sprintf(p, "{\"http_requests\":%llu,\"requests\":%llu,\"admitted_requests\":%llu,\"admitted_rows\":%llu,\"admitted_tokens\":%llu,\"ok_requests\":%llu,\"ok_rows\":%llu,\"ok_tokens\":%llu,\"unique_rows\":%zu,\"repeat_rows\":%llu,\"max_rows_per_request\":%llu,",
               U(S.http), U(S.requests), U(S.adm_req), U(S.adm_rows), U(S.adm_tok), U(S.ok_req), U(S.ok_rows), U(S.ok_tok), hs_n, U(S.repeat_rows), U(S.rows_max));
  p += sprintf(p, "\"r429\":%llu,\"r429_requests\":%llu,\"r429_tokens\":%llu,\"r429_too_large\":%llu,\"bad_requests\":%llu,\"not_found\":%llu,\"faults\":{\"500\":%llu,\"503\":%llu,\"reset\":%llu,\"hang\":%llu,\"truncated\":%llu,\"malformed\":%llu,\"slow\":%llu,\"content_filter\":%llu},\"client_gone\":%llu,",
               U(S.r429), U(S.r429_req), U(S.r429_tok), U(S.too_large), U(S.bad), U(S.notfound), U(S.f500), U(S.f503), U(S.freset), U(S.fhang), U(S.ftrunc), U(S.fmalf), U(S.fslow), U(S.filtered), U(S.client_gone));
  p += sprintf(p, "\"in_flight\":%d,\"peak_in_flight\":%d,\"connections\":%d,\"peak_connections\":%d,\"connections_total\":%llu,\"bytes_out\":%llu,\"server_cpu_s\":%.4f,\"uptime_s\":%.3f,", S.inflight, S.inflight_peak, S.conns, S.conns_peak, U(S.conns_total), U(S.bytes_out), cpu_s() - cpu0, (now_ns() - t_start) * 1e-9);
  p += sprintf(p, "\"rpm\":%.0f,\"tpm\":%.0f,\"burst_s\":%g,\"first_accept\":%.6f,\"last_accept\":%.6f,\"busy_s\":%.6f,\"serve_s\":%.6f,\"bucket_start_tokens\":%.1f,\"allowed_tokens\":%.1f,\"allowed_requests\":%.1f,\"saturation_tokens\":%.5f,\"saturation_requests\":%.5f",
               O.rpm, O.tpm, O.burst_s, S.first_wall, S.last_wall, busy, S.last_ok_ns > S.first_req_ns ? (S.last_ok_ns - S.first_req_ns) * 1e-9 : 0, S.init_tok, O.tpm ? at : 0, O.rpm ? ar : 0, O.tpm && at > 0 ? S.adm_tok / at : 0, O.rpm && ar > 0 ? S.adm_req / ar : 0);
  p += hist_json(p, "hist_requests", h_req, n, 4); p += hist_json(p, "hist_rows", h_rows, n, 4); p += hist_json(p, "hist_tokens", h_tok, n, 8); p += hist_json(p, "hist_429", h_429, n, 4);
  *p++ = '}'; *p++ = '\n';
  out_begin(c); add_iov(c, c->ob, p - c->ob); out_send(c, 200, 0, 0);
}

static double latency(conn *c) {                      // seconds
  double m = O.latency_ms, v = m;
  if (m > 0 || O.jitter_ms > 0) switch (O.dist) {
    case 1: v = m + (2 * rnd() - 1) * O.jitter_ms; break;
    case 2: v = m + gauss() * O.jitter_ms; break;
    case 3: v = exp(log(fmax(m, 1e-6)) - O.sigma * O.sigma / 2 + O.sigma * gauss()); break;
  }
  v += O.per_input_us * c->n_rows * 1e-3; if (v < 0) v = 0;
  if (c->fault == F_SLOW) v += O.slow_ms;
  return v * 1e-3;
}
static int has_suffix(const char *p, size_t n, const char *s) { size_t k = strlen(s); return n >= k && !memcmp(p + n - k, s, k); }

static void handle(conn *c, const char *method, size_t mn, const char *path, size_t pn, const char *body, size_t bn) {
  S.http++; c->id = ++seq; c->t_in = now_ns(); c->abort_after = 0; c->fault = 0;
  const char *qs = memchr(path, '?', pn); if (qs) pn = qs - path;
  c->azure = pn > 8 && !memcmp(path, "/openai/", 8);
  if (mn == 3 && pn == 6 && !memcmp(path, "/stats", 6)) { send_stats(c); return; }
  if (mn == 4 && pn == 6 && !memcmp(path, "/reset", 6)) { stats_reset(); ob_need(c, 64); out_begin(c); add_iov(c, "{\"ok\":true}\n", 12); out_send(c, 200, 0, 0); return; }
  if (mn == 3 && has_suffix(path, pn, "/models")) {
    static const char M[] = "{\"object\":\"list\",\"data\":[{\"id\":\"text-embedding-3-small\",\"object\":\"model\",\"created\":1,\"owned_by\":\"stub\"},{\"id\":\"gpt-4o-mini\",\"object\":\"model\",\"created\":1,\"owned_by\":\"stub\"}]}\n";
    out_begin(c); add_iov(c, M, sizeof M - 1); out_send(c, 200, 0, 0); return;
  }
  int emb = has_suffix(path, pn, "/embeddings"), chat = has_suffix(path, pn, "/chat/completions"), comp = !chat && has_suffix(path, pn, "/completions"), resp = has_suffix(path, pn, "/responses");
  if (mn != 4 || !(emb || chat || comp || resp)) { S.notfound++; send_err(c, 404, "invalid_request_error", "404", 0, "Resource not found"); return; }
  c->kind = emb ? K_EMB : chat ? K_CHAT : comp ? K_COMP : K_RESP;
  S.requests++; if (!S.first_req_ns) S.first_req_ns = c->t_in;
  c->n_rows = 0; c->tok_prompt = 0; c->b64 = 0; c->dims = O.default_dims; c->n_choices = 1; c->json_reply = 0; c->model_len = 0;
  i64 max_tok = -1; kv o; int bad = 0, stream = 0;
  const char *e = body + bn, *p = ws(body, e);
  if (p >= e || *p != '{') bad = 1;
  else {
    p++;
    for (;;) {
      // the big value is walked once, by its own parser, not skipped first
      int esc; p = ws(p, e); if (p < e && *p == ',') p = ws(p + 1, e);
      if (p >= e || *p != '"') { bad |= p >= e || *p != '}'; break; }
      const char *q = str_end(p + 1, e, &esc); if (!q) { bad = 1; break; }
      o.k = p + 1; o.kn = q - p - 1; p = ws(q + 1, e); if (p >= e || *p != ':') { bad = 1; break; }
      o.v = ws(p + 1, e);
      if ((emb && is(&o, "input")) || (comp && is(&o, "prompt"))) { p = rows_value(c, o.v, e); if (!p) { bad = 1; break; } continue; }
      o.ve = p = skip_val(o.v, e); if (!p) { bad = 1; break; }
      if (is(&o, "model")) { c->model_len = o.ve - o.v - 2; if (c->model_len < 0) c->model_len = 0; if (c->model_len > 95) c->model_len = 95; memcpy(c->model, o.v + 1, c->model_len); }
      else if (is(&o, "encoding_format")) c->b64 = o.ve - o.v == 8 && !memcmp(o.v, "\"base64\"", 8);
      else if (is(&o, "dimensions") && *o.v != 'n') c->dims = atoi(o.v);
      else if ((is(&o, "max_tokens") || is(&o, "max_completion_tokens") || is(&o, "max_output_tokens")) && *o.v != 'n') max_tok = atoi(o.v);
      else if (is(&o, "n") && *o.v != 'n') c->n_choices = atoi(o.v);
      else if (is(&o, "stream")) stream = *o.v == 't';
      else if (is(&o, "response_format") && *o.v == '{') c->json_reply = memmem(o.v, o.ve - o.v, "json", 4) != 0;
      else if ((chat && is(&o, "messages")) || (resp && is(&o, "input"))) messages_value(c, o.v, o.ve);
    }
  }
  if (c->n_choices < 1 || c->n_choices > 64) c->n_choices = 1;
  if (bad || !c->n_rows || stream || c->dims < 8 || c->dims > MAXD || c->n_rows > O.max_inputs || (O.max_request_tokens && c->tok_prompt > O.max_request_tokens)) {
    S.bad++; send_err(c, 400, "invalid_request_error", 0, 0, bad ? "could not parse the JSON body" : !c->n_rows ? "no input" : stream ? "stream is not supported by this stub" : c->n_rows > O.max_inputs ? "too many inputs: %d" : "dimensions or request tokens out of range", c->n_rows); return;
  }
  c->tok_charge = c->tok_prompt + (emb ? 0 : (max_tok >= 0 ? max_tok : O.default_completion) * (i64)(comp ? c->n_rows : c->n_choices));
  u64 t = c->t_in; int sec = S.first_ns ? (int)((t - S.first_ns) / 1000000000ull) : 0; if (sec >= HIST) sec = HIST - 1;
  if (O.rpm || O.tpm) {
    refill(t); double wait = 0; int why = 0;
    if (O.tpm && c->tok_charge > tcap) why = 3, wait = 1;
    else if (O.rpm && rb < 1) why = 1, wait = (1 - rb) / rrate;
    else if (O.tpm && tb < c->tok_charge) why = 2, wait = (c->tok_charge - tb) / trate;
    if (why) {
      record_line(t, 429, c->n_rows, c->tok_charge, c->rows[0].h);
      S.r429++; if (S.first_ns) h_429[sec]++;
      if (why == 1) S.r429_req++; else if (why == 2) S.r429_tok++; else S.too_large++;
      if (O.count_429 && O.rpm) rb = fmax(0, rb - 1);
      send_err(c, 429, why == 1 ? "requests" : "tokens", c->azure ? "429" : "rate_limit_exceeded", wait, why == 3 ? "Request too large for the model: limit %.0f, requested %lld tokens" : "Rate limit reached: limit %.0f per minute, requested %lld", why == 1 ? O.rpm : why == 2 ? O.tpm : tcap, (long long)(why == 1 ? 1 : c->tok_charge)); return;
    }
    if (!S.first_ns) { S.init_req = rb; S.init_tok = tb; }
    if (O.rpm) rb -= 1;
    if (O.tpm) tb -= c->tok_charge;
  }
  if (!S.first_ns) { S.first_ns = t; S.first_wall = wall(); sec = 0; }
  S.last_ns = t; S.last_wall = S.first_wall + (t - S.first_ns) * 1e-9;
  record_line(t, 200, c->n_rows, c->tok_charge, c->rows[0].h);
  S.adm_req++; S.adm_rows += c->n_rows; S.adm_tok += c->tok_charge; if ((u64)c->n_rows > S.rows_max) S.rows_max = c->n_rows;
  h_req[sec]++; h_rows[sec] += c->n_rows; h_tok[sec] += c->tok_charge;
  c->counted = 1; if (++S.inflight > S.inflight_peak) S.inflight_peak = S.inflight;
  if (O.ffilter > 0) for (int i = 0; i < c->n_rows; i++) if ((c->rows[i].h >> 32 ^ c->rows[i].h) * 2654435761u % 1000000u < O.ffilter * 10000) { c->fault = F_FILTER; break; }
  if (!c->fault && O.f500 + O.f503 + O.freset + O.fhang + O.ftrunc + O.fmalf + O.fslow > 0) {
    double u = rnd() * 100; double f[] = {O.f500, O.f503, O.freset, O.fhang, O.ftrunc, O.fmalf, O.fslow};
    for (int i = 0; i < 7; i++) { if (u < f[i]) { c->fault = F_500 + i; break; } u -= f[i]; }
  }
  if (c->fault == F_HANG) { S.fhang++; c->state = ST_HANG; return; }
  double lat = latency(c);
  if (lat > 0) { c->due = t + (u64)(lat * 1e9); c->state = ST_WAIT; hpush(c); return; }
  respond(c);
}

static void process(conn *c) {                        // one request at a time; called in ST_READ
  if (!c->in_len || c->fd < 0) return;
  char *he = memmem(c->in, c->in_len, "\r\n\r\n", 4);
  if (!he) { if (c->in_len > 65536) conn_close(c, 1); return; }
  char *p = c->in, *le = memchr(p, '\r', he - p + 1);
  char *m = p, *sp = memchr(p, ' ', le - p); if (!sp) { conn_close(c, 1); return; }
  char *path = sp + 1, *pe = memchr(path, ' ', le - path); if (!pe) { conn_close(c, 1); return; }
  size_t cl = 0; int chunked = 0, expect = 0, close_ = 0;
  for (p = le + 2; p < he;) {
    char *q = memchr(p, '\r', he - p + 1); if (!q) q = he;
    switch (*p | 32) {
      case 'c': if (!strncasecmp(p, "content-length:", 15)) cl = strtoull(p + 15, 0, 10); else if (!strncasecmp(p, "connection:", 11)) { char *v = p + 11; while (*v == ' ') v++; close_ = !strncasecmp(v, "close", 5); } break;
      case 't': if (!strncasecmp(p, "transfer-encoding:", 18)) chunked = 1; break;
      case 'e': if (!strncasecmp(p, "expect:", 7)) expect = 1; break;
    }
    p = q + 2;
  }
  size_t hl = he + 4 - c->in, total = hl + cl;
  if (chunked) { c->close_after = 1; c->id = ++seq; c->t_in = now_ns(); S.bad++; send_err(c, 411, "invalid_request_error", 0, 0, "chunked request bodies are not supported"); return; }
  if (cl > (256u << 20)) { conn_close(c, 1); return; }
  if (c->in_len < total) {
    if (expect && c->in_len == hl) { static const char C[] = "HTTP/1.1 100 Continue\r\n\r\n"; if (write(c->fd, C, sizeof C - 1) < 0) {} }
    if (c->in_cap < total + 4096) c->in = xrealloc(c->in, c->in_cap = total + 4096);
    return;
  }
  c->close_after = close_;
  // the request is parsed out of the buffer before anything is answered, so the buffer can be shifted first only after handle()
  size_t mn = sp - m, pn = pe - path; const char *body = c->in + hl;
  // copy leftovers aside only when a client pipelines (rare)
  size_t left = c->in_len - total; char *rest = 0;
  if (left) { rest = xrealloc(0, left); memcpy(rest, c->in + total, left); }
  c->in_len = 0;
  if (left) {                                         // handle() may recurse through flush_out: put the rest back after it
    handle(c, m, mn, path, pn, body, cl);
    if (c->fd >= 0) { if (c->in_cap < left + 4096) c->in = xrealloc(c->in, c->in_cap = left + 4096); memcpy(c->in, rest, left); c->in_len = left; if (c->state == ST_READ) process(c); }
    free(rest); return;
  }
  handle(c, m, mn, path, pn, body, cl);
}

static void on_read(conn *c) {
  for (;;) {
    if (c->in_cap - c->in_len < 16384) c->in = xrealloc(c->in, c->in_cap = c->in_cap ? c->in_cap * 2 : 32768);
    size_t room = c->in_cap - c->in_len; ssize_t r = read(c->fd, c->in + c->in_len, room);
    if (r < 0) { if (errno == EINTR) continue; if (errno == EAGAIN) break; conn_close(c, 0); return; }
    if (r == 0) { conn_close(c, 0); return; }
    c->in_len += r;
    if ((size_t)r < room) break;
  }
  if (c->state == ST_READ) process(c);
}

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *a = argv[i];
    if (!strcmp(a, "--count-429")) { O.count_429 = 1; continue; }
    if (!strcmp(a, "--no-limit-headers")) { O.no_limit_headers = 1; continue; }
    if (i + 1 >= argc) usage();
    char *v = argv[++i];
#define I(n, f) if (!strcmp(a, n)) { O.f = atoll(v); continue; }
#define D(n, f) if (!strcmp(a, n)) { O.f = atof(v); continue; }
    I("--port", port) I("--cpu", cpu) I("--seed", seed) I("--max-inputs", max_inputs) I("--dims", default_dims) I("--default-completion", default_completion) I("--reply-tokens", reply_tokens) I("--max-request-tokens", max_request_tokens)
    if (!strcmp(a, "--log")) { record = fopen(v, "w"); if (!record) { perror(v); return 1; } setvbuf(record, 0, _IOLBF, 0); continue; }
    D("--tokens-per-byte-low", tpb_low) D("--tokens-per-byte-high", tpb_high)
    D("--latency-ms", latency_ms) D("--jitter-ms", jitter_ms) D("--sigma", sigma) D("--per-input-us", per_input_us) D("--slow-ms", slow_ms) D("--rpm", rpm) D("--tpm", tpm) D("--burst-s", burst_s) D("--init-frac", init_frac)
    D("--f500", f500) D("--f503", f503) D("--freset", freset) D("--fhang", fhang) D("--ftrunc", ftrunc) D("--fmalf", fmalf) D("--fslow", fslow) D("--ffilter", ffilter)
    if (!strcmp(a, "--dist")) { O.dist = !strcmp(v, "uniform") ? 1 : !strcmp(v, "normal") ? 2 : !strcmp(v, "lognormal") ? 3 : 0; continue; }
    usage();
  }
  if (O.reply_tokens > 16000) O.reply_tokens = 16000;
  signal(SIGPIPE, SIG_IGN);
  if (O.cpu >= 0) { cpu_set_t s; CPU_ZERO(&s); CPU_SET(O.cpu, &s); sched_setaffinity(0, sizeof s, &s); }
  struct rlimit rl = {65536, 65536}; setrlimit(RLIMIT_NOFILE, &rl);
  crc_init(); pool_init(); stats_reset();
  int ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
  setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(O.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(ls, (struct sockaddr *)&sa, sizeof sa) || listen(ls, O.backlog)) { perror("bind/listen"); return 1; }
  ep = epoll_create1(EPOLL_CLOEXEC);
  struct epoll_event ev = {.events = EPOLLIN, .data.ptr = 0}; epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev);
  fprintf(stderr, "stub: listening on 127.0.0.1:%d\n", O.port);
  static struct epoll_event es[1024];
  for (;;) {
    struct timespec ts, *tp = 0;
    if (hn) { u64 t = now_ns(), d = heap[0]->due > t ? heap[0]->due - t : 0; ts.tv_sec = d / 1000000000ull; ts.tv_nsec = d % 1000000000ull; tp = &ts; }
    int n = epoll_pwait2(ep, es, 1024, tp, 0);
    if (n < 0 && errno != EINTR) { perror("epoll"); return 1; }
    for (int i = 0; i < n; i++) {
      conn *c = es[i].data.ptr;
      if (!c) {
        for (;;) {
          int fd = accept4(ls, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC); if (fd < 0) break;
          setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          c = calloc(1, sizeof *c); c->fd = fd; c->heap_i = -1;
          struct epoll_event e = {.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c}; epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
          S.conns_total++; if (++S.conns > S.conns_peak) S.conns_peak = S.conns;
        }
        continue;
      }
      if (c->fd < 0) continue;
      u32 f = es[i].events;
      if ((f & EPOLLOUT) && c->state == ST_WRITE) flush_out(c);
      if (c->fd >= 0 && (f & EPOLLIN)) on_read(c);
      if (c->fd >= 0 && (f & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))) conn_close(c, 0);
    }
    if (hn) { u64 t = now_ns(); while (hn && heap[0]->due <= t) { conn *c = heap[0]; hdel(c); respond(c); } }
    reap();
  }
}
