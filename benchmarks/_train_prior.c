// The inner loops of train_prior.py: ½|x-y|² + Σ ½ a log(1 + z²/c), z the valid correlations of x with K filters, S×S.
//
// Compile with -DS=7 -O3 -march=native -ffast-math -shared -fPIC.  Images are H rows of W pixels, in rows of Ws floats:
// W rounded up to 8, with zeros at the end; W - S + 1 is a multiple of 8.  Responses are K × h × w without gaps; a and
// c are K × M, one for each term of a potential.
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define VECTOR(p) (*(v8 *)(p))
// Rows that are computed together, 8 pixels of each, so that what is loaded serves all of them.
#define ROWS 4
// Side of the preconditioner's kernel.
#define T 15

typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef struct { long H, W, Ws, h, w, K, M; } sizes;

static sizes sizes_of(long H, long W, long K, long M) {
  sizes d = {H, W, (W + 7) / 8 * 8, H - S + 1, W - S + 1, K, M};
  return d;
}

static float *zeros(long count) { return calloc(count + 64, sizeof(float)); }

INLINE float sum8(v8 a) {
  float total = 0;
  for (int i = 0; i < 8; i++) total += a[i];
  return total;
}

static double dot(long n, float *a, float *b) {
  double total = 0;
  for (long i = 0; i < n; i += 512) {
    v8 part = {0};
    for (long j = i; j < n && j < i + 512; j += 8) part += VECTOR(a + j) * VECTOR(b + j);
    total += sum8(part);
  }
  return total;
}

// acc[r] += correlation at 8 pixels of row r
INLINE void correlate(const int R, float *x, long stride, float *f, v8 *acc) {
#pragma GCC unroll 20
  for (int row = 0; row < S + R - 1; row++)
#pragma GCC unroll 16
    for (int col = 0; col < S; col++) {
      v8 seen = VECTOR(x + row * stride + col);
#pragma GCC unroll 4
      for (int r = 0; r < R; r++)
        if (row - r >= 0 && row - r < S) acc[r] += f[(row - r) * S + col] * seen;
    }
}

// Run body(rows at once) for all i of rows and j of columns.
#define BLOCKS(height, width, body)                       \
  {                                                       \
    long i = 0;                                           \
    for (; i + ROWS <= height; i += ROWS)                 \
      for (long j = 0; j < width; j += 8) { body(ROWS) }  \
    for (; i < height; i++)                               \
      for (long j = 0; j < width; j += 8) { body(1) }     \
  }

void responses(long H, long W, long K, float *x, float *f, float *z) {
  sizes d = sizes_of(H, W, K, 1);
  for (long k = 0; k < K; k++) {
#define BODY(R)                                           \
  v8 acc[R] = {{0}};                                      \
  correlate(R, x + i * d.Ws + j, d.Ws, f + k * S * S, acc); \
  for (int r = 0; r < R; r++) VECTOR(z + (k * d.h + i + r) * d.w + j) = acc[r];
    BLOCKS(d.h, d.w, BODY)
#undef BODY
  }
}

static long scratch_stride(sizes d) { return d.Ws + S - 1; }
static long scratch_size(sizes d) { return (d.H + S) * scratch_stride(d); }
static float *in_scratch(sizes d, float *scratch, long row) { return scratch + (row + S - 1) * scratch_stride(d) + S - 1; }

// out += the adjoint of a filter, given turned, of the responses in scratch, which has zeros around
static void spread(sizes d, float *scratch, float *turned, float *out) {
  long stride = scratch_stride(d);
#define BODY(R)                                                             \
  v8 acc[R];                                                                \
  for (int r = 0; r < R; r++) acc[r] = VECTOR(out + (i + r) * d.Ws + j);    \
  correlate(R, scratch + i * stride + j, stride, turned, acc);              \
  for (int r = 0; r < R; r++) VECTOR(out + (i + r) * d.Ws + j) = acc[r];
  BLOCKS(d.H, d.Ws, BODY)
#undef BODY
}

// φ'(z) / z
INLINE v8 weight(v8 squares, float *a, float *c, long M) {
  v8 total = {0};
  for (long m = 0; m < M; m++) total += a[m] / (c[m] + squares);
  return total;
}

// A curvature along a line: half the majoriser's, half the potential's own.
INLINE v8 blended(v8 squares, float *a, float *c, long M) {
  v8 total = {0};
  for (long m = 0; m < M; m++) {
    v8 q = 1 / (c[m] + squares);
    total += a[m] * c[m] * q * q;
  }
  return total;
}

void curvature(long H, long W, long K, long M, float *z, float *a, float *c, float *out) {
  sizes d = sizes_of(H, W, K, M);
  for (long k = 0; k < K; k++)
    for (long i = k * d.h * d.w; i < (k + 1) * d.h * d.w; i += 8) {
      v8 squares = VECTOR(z + i) * VECTOR(z + i), total = {0};
      for (long m = k * M; m < (k + 1) * M; m++) {
        v8 q = 1 / (c[m] + squares);
        total += a[m] * q * (2 * c[m] * q - 1);
      }
      VECTOR(out + i) = total;
    }
}

// out = correlation of g with p, T×T, with zeros around g; wide is scratch for these
static void precondition(sizes d, float *p, float *g, float *wide, float *out) {
  long stride = d.Ws + T - 1;
  if (!p) {
    memcpy(out, g, d.H * d.Ws * sizeof(float));
    return;
  }
  for (long i = 0; i < d.H; i++)
    memcpy(wide + (i + T / 2) * stride + T / 2, g + i * d.Ws, d.Ws * sizeof(float));
  for (long i = 0; i < d.H; i++) {
    for (long j = 0; j < d.Ws; j += 8) {
      v8 total = {0};
      for (int row = 0; row < T; row++)
        for (int col = 0; col < T; col++) total += p[row * T + col] * VECTOR(wide + (i + row) * stride + j + col);
      VECTOR(out + i * d.Ws + j) = total;
    }
    for (long j = d.W; j < d.Ws; j++) out[i * d.Ws + j] = 0;
  }
}

// Nonlinear conjugate gradients (Polak and Ribière), preconditioned by p or, where that is NULL, not.  x is the start and
// the result, z its responses, along is scratch of their size.  Returns the iterations.
long minimise(long H, long W, long K, long M, float *y, float *f, float *turned, float *a, float *c, float *p,
              long most, double tol, float *x, float *z, float *along) {
  sizes d = sizes_of(H, W, K, M);
  long n = d.H * d.Ws, step = 0;
  float *scratch = zeros(scratch_size(d)), *wide = zeros((d.H + T) * (d.Ws + T));
  float *g = zeros(n), *last = zeros(n), *move = zeros(n), *pg = zeros(n);
  double before = 0;
  float t = 0;
  responses(H, W, K, x, f, z);
  for (; step < most; step++) {
    for (long i = 0; i < n; i++) g[i] = x[i] - y[i];
    for (long k = 0; k < K; k++) {
      for (long i = 0; i < d.h; i++)
        for (long j = 0; j < d.w; j += 8) {
          long at = (k * d.h + i) * d.w + j;
          v8 now = VECTOR(z + at);
          if (step) VECTOR(z + at) = now += t * VECTOR(along + at);
          VECTOR(in_scratch(d, scratch, i) + j) = weight(now * now, a + k * M, c + k * M, M) * now;
        }
      spread(d, scratch, turned + k * S * S, g);
    }
    double square = dot(n, g, g);
    if (square == 0 || square <= tol * tol * d.H * d.W) break;
    precondition(d, p, g, wide, pg);
    double now = dot(n, g, pg), beta = step ? (now - dot(n, pg, last)) / before : 0;
    if (!(beta > 0)) beta = 0;
    double slope = beta * dot(n, g, move) - now;
    if (slope >= 0) {
      beta = 0;
      slope = -now;
    }
    for (long i = 0; i < n; i++) move[i] = (float)beta * move[i] - pg[i];
    double curve = dot(n, move, move);
    for (long k = 0; k < K; k++) {
      v8 total = {0};
#define BODY(R)                                                     \
  v8 acc[R] = {{0}};                                                \
  correlate(R, move + i * d.Ws + j, d.Ws, f + k * S * S, acc);      \
  for (int r = 0; r < R; r++) {                                     \
    long at = (k * d.h + i + r) * d.w + j;                          \
    v8 here = VECTOR(z + at);                                       \
    VECTOR(along + at) = acc[r];                                    \
    total += blended(here * here, a + k * M, c + k * M, M) * acc[r] * acc[r]; \
  }
      BLOCKS(d.h, d.w, BODY)
#undef BODY
      curve += sum8(total);
    }
    t = -slope / curve;
    for (long i = 0; i < n; i++) x[i] += t * move[i];
    before = now;
    float *swapped = last;
    last = g;
    g = swapped;
  }
  if (step == most)
    for (long i = 0; i < K * d.h * d.w; i++) z[i] += t * along[i];
  free(scratch), free(wide), free(g), free(last), free(move), free(pg);
  return step;
}

// (I + Fᵀ diag(second) F) v = rhs by conjugate gradients, as far as that is positive.
long solve_hessian(long H, long W, long K, float *f, float *turned, float *second, float *rhs, float *p, long most,
                   double tol, float *v) {
  sizes d = sizes_of(H, W, K, 1);
  long n = d.H * d.Ws, step = 0;
  float *scratch = zeros(scratch_size(d)), *wide = zeros((d.H + T) * (d.Ws + T));
  float *h = zeros(n), *rest = zeros(n), *move = zeros(n), *pr = zeros(n);
  memset(v, 0, n * sizeof(float));
  memcpy(rest, rhs, n * sizeof(float));
  precondition(d, p, rest, wide, pr);
  memcpy(move, pr, n * sizeof(float));
  double before = dot(n, rest, pr), square = dot(n, rest, rest), enough = tol * tol * square;
  for (; step < most && square > enough; step++) {
    memcpy(h, move, n * sizeof(float));
    for (long k = 0; k < K; k++) {
#define BODY(R)                                                 \
  v8 acc[R] = {{0}};                                            \
  correlate(R, move + i * d.Ws + j, d.Ws, f + k * S * S, acc);  \
  for (int r = 0; r < R; r++)                                   \
    VECTOR(in_scratch(d, scratch, i + r) + j) = acc[r] * VECTOR(second + (k * d.h + i + r) * d.w + j);
      BLOCKS(d.h, d.w, BODY)
#undef BODY
      spread(d, scratch, turned + k * S * S, h);
    }
    double curve = dot(n, move, h);
    if (!(curve > 1e-3 * dot(n, move, move))) break;
    float t = before / curve;
    for (long i = 0; i < n; i++) {
      v[i] += t * move[i];
      rest[i] -= t * h[i];
    }
    precondition(d, p, rest, wide, pr);
    double now = dot(n, rest, pr);
    square = dot(n, rest, rest);
    for (long i = 0; i < n; i++) move[i] = pr[i] + (float)(now / before) * move[i];
    before = now;
  }
  free(scratch), free(wide), free(h), free(rest), free(move), free(pr);
  return step;
}
