// Products of hybrid-sparse weights with dense matrices, one block-row after the other.
//
// A weight matrix (rows x columns) is cut into B x B blocks; every block-row keeps the same number of blocks, and every
// row of a kept block the same number q of weights (n:m within the block). Nothing is branched over: the work of all
// block-rows is equal, and so are the threads' shares.
//
// Values and offsets lie in the order in which the loops read them; see kernels.py (plan). Vectors of GCC and Clang, so
// that one text serves AVX-512, AVX2 and other processors.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

typedef float vec16 __attribute__((vector_size(64), aligned(4), may_alias));

constexpr int ROWS = 8;  // of a block that are computed together: their sums stay in registers

// Sums of ROWS rows over `columns` = 16 * V columns of a packed tile of x (k x columns, contiguous).
template <int V>
void rows_times_tile(const float* values, const uint8_t* offsets, const int32_t* blocks, int kept, int side, int q,
                     const float* tile, float* out, size_t out_stride, const float* bias, bool relu) {
  vec16 sum[ROWS][V];
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < V; v++) sum[r][v] = vec16{} + (bias ? bias[r] : 0.0f);
  for (int j = 0; j < kept; j++) {
    const float* x = tile + static_cast<size_t>(blocks[j]) * side * 16 * V;
    for (int u = 0; u < q; u++) {
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; r++) {
        const float* row = x + static_cast<size_t>(offsets[r]) * (16 * V);
        const float w = values[r];
#pragma GCC unroll 4
        for (int v = 0; v < V; v++) sum[r][v] += w * *reinterpret_cast<const vec16*>(row + 16 * v);
      }
      values += ROWS;
      offsets += ROWS;
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < V; v++) {
      vec16 y = sum[r][v];
      if (relu) y = y > 0.0f ? y : vec16{};
      *reinterpret_cast<vec16*>(out + r * out_stride + 16 * v) = y;
    }
}

// A matrix of patches (rows: taps x channels, filled up; columns: positions of the result) that is never written out:
// row (tap, c), column p lies at x[c * channel_stride + tap_start(tap) + position(p)]. A plain matrix (k x n) is one tap
// of k channels at n positions in one line.
struct Patches {
  int64_t channels, filled_channels, kernel_height, kernel_width;
  int64_t channel_stride, image_stride, line_stride;  // of x, in floats
  int64_t dilation_height, dilation_width, step_height, step_width;
  int64_t height, width, positions;  // of the result; all positions of all images
};

// Where the positions of a tile lie, 16 to a vector, and whether those of a vector lie side by side.
struct Tile {
  int32_t at[48];
  bool contiguous[3];
};

Tile tile_of(const Patches& p, int64_t start, int width, int vectors) {
  Tile tile;
  const int64_t first = start / p.width;
  int64_t column = start % p.width, row = first % p.height, image = first / p.height;
  for (int i = 0; i < 16 * vectors; i++) {
    tile.at[i] = static_cast<int32_t>(image * p.image_stride + row * p.step_height * p.line_stride + column * p.step_width);
    // columns beyond the last position repeat it: they are computed and not written
    if (i + 1 < width && ++column == p.width) {
      column = 0;
      if (++row == p.height) row = 0, image++;
    }
  }
  for (int v = 0; v < vectors; v++) tile.contiguous[v] = tile.at[16 * v + 15] == tile.at[16 * v] + 15;
  return tile;
}

// One row of the patches at a tile's positions.
inline void pack_row(const float* from, const Tile& tile, int vectors, float* out) {
  for (int v = 0; v < vectors; v++) {
    const int32_t* at = tile.at + 16 * v;
    if (tile.contiguous[v]) {
      std::memcpy(out + 16 * v, from + at[0], 16 * sizeof(float));
    } else {
#if defined(__AVX512F__)
      _mm512_storeu_ps(out + 16 * v, _mm512_i32gather_ps(_mm512_loadu_si512(at), from, 4));
#else
      for (int i = 0; i < 16; i++) out[16 * v + i] = from[at[i]];
#endif
    }
  }
}

// Rows [k, k + rows) of the patches; those that pad the channels or the last block are zeros.
void pack_rows(const Patches& p, const float* x, const Tile& tile, int vectors, int64_t k, int rows, float* out) {
  const int64_t taps = p.kernel_height * p.kernel_width;
  int64_t tap = k / p.filled_channels, channel = k % p.filled_channels;
  for (int r = 0; r < rows; r++, out += 16 * vectors) {
    if (tap < taps && channel < p.channels) {
      const int64_t down = tap / p.kernel_width, right = tap % p.kernel_width;
      const float* from = x + channel * p.channel_stride + down * p.dilation_height * p.line_stride +
                          right * p.dilation_width;
      // neighbours in a block are channels of one tap, as far as that goes
      const int64_t more = std::min<int64_t>(rows - r, p.channels - channel);
      for (int64_t c = 0; c < more; c++, from += p.channel_stride) pack_row(from, tile, vectors, out + c * 16 * vectors);
      r += static_cast<int>(more) - 1, out += (more - 1) * 16 * vectors, channel += more - 1;
    } else {
      std::memset(out, 0, 16 * vectors * sizeof(float));
    }
    if (++channel == p.filled_channels) channel = 0, tap++;
  }
}

// Sixteen weights as floats, from each way to store them.
inline float widen(float w) { return w; }
inline float widen(int8_t w) { return static_cast<float>(w); }
inline float widen(uint16_t w) {  // bfloat16: the upper half of a float
  const uint32_t bits = static_cast<uint32_t>(w) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

#if defined(__AVX512F__)
inline __m512 load16(const float* w) { return _mm512_loadu_ps(w); }
inline __m512 load16(const int8_t* w) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(w))));
}
inline __m512 load16(const uint16_t* w) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(w));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}
inline __m512i lanes(const uint8_t* offsets) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(offsets)));
}
#endif

struct Shape {
  int block_rows, kept, side, q, rows;
  bool relu;
  int threads;
};

// Sixteen rows are sixteen lanes: each takes its own element of x out of the block that all of them read.
template <typename W>
void matvec(const W* values, const float* scales, const uint8_t* offsets, const int32_t* blocks, const float* x, float* y,
            const float* bias, const Shape& s) {
  const int groups = s.side / 16;
  const size_t per_group = static_cast<size_t>(s.kept) * s.q * 16;
#pragma omp parallel for schedule(static) num_threads(s.threads)
  for (int i = 0; i < s.block_rows; i++) {
    const int32_t* columns = blocks + static_cast<size_t>(i) * s.kept;
    for (int g = 0; g < groups; g++) {
      const int row = i * s.side + g * 16;
      if (row >= s.rows) break;
      const W* v = values + (static_cast<size_t>(i) * groups + g) * per_group;
      const uint8_t* o = offsets + (static_cast<size_t>(i) * groups + g) * per_group;
      float sums[16];
#if defined(__AVX512F__)
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      for (int j = 0; j < s.kept; j++) {
        const float* block = x + static_cast<size_t>(columns[j]) * s.side;
        if (s.side == 16) {
          const __m512 x0 = _mm512_loadu_ps(block);
          int u = 0;
          for (; u + 2 <= s.q; u += 2, v += 32, o += 32) {
            even = _mm512_fmadd_ps(load16(v), _mm512_permutexvar_ps(lanes(o), x0), even);
            odd = _mm512_fmadd_ps(load16(v + 16), _mm512_permutexvar_ps(lanes(o + 16), x0), odd);
          }
          for (; u < s.q; u++, v += 16, o += 16)
            even = _mm512_fmadd_ps(load16(v), _mm512_permutexvar_ps(lanes(o), x0), even);
        } else if (s.side == 32) {
          const __m512 x0 = _mm512_loadu_ps(block), x1 = _mm512_loadu_ps(block + 16);
          for (int u = 0; u < s.q; u++, v += 16, o += 16)
            even = _mm512_fmadd_ps(load16(v), _mm512_permutex2var_ps(x0, lanes(o), x1), even);
        } else {
          for (int u = 0; u < s.q; u++, v += 16, o += 16)
            even = _mm512_fmadd_ps(load16(v), _mm512_i32gather_ps(lanes(o), block, 4), even);
        }
      }
      _mm512_storeu_ps(sums, _mm512_add_ps(even, odd));
#else
      for (int l = 0; l < 16; l++) sums[l] = 0.0f;
      for (int j = 0; j < s.kept; j++) {
        const float* block = x + static_cast<size_t>(columns[j]) * s.side;
        for (int u = 0; u < s.q; u++, v += 16, o += 16)
          for (int l = 0; l < 16; l++) sums[l] += widen(v[l]) * block[o[l]];
      }
#endif
      for (int l = 0; l < 16 && row + l < s.rows; l++) {
        const float value = sums[l] * (scales ? scales[row + l] : 1.0f) + (bias ? bias[row + l] : 0.0f);
        y[row + l] = s.relu && value < 0.0f ? 0.0f : value;
      }
    }
  }
}

}  // namespace

extern "C" {

// y (rows x positions) = w patches + bias (rows), then ReLU where asked; rows of w beyond are zeros.
// values, offsets: [block_rows][side / 8][kept][q][8]; blocks: [block_rows][kept]; used: [columns / side], whether any
// block-row keeps that block; scratch: columns * 48 floats, where columns is that of w, filled up to whole blocks.
void hybrid_matmul(const float* values, const uint8_t* offsets, const int32_t* blocks, const uint8_t* used,
                   const float* x, const int64_t* patches, float* y, const float* bias, int block_rows, int kept,
                   int side, int q, int columns, int rows, int relu, int threads, float* scratch) {
  Patches p;
  std::memcpy(&p, patches, sizeof p);
  const int64_t n = p.positions;
  const size_t per_group = static_cast<size_t>(kept) * q * ROWS;
  const int groups = side / ROWS;
  int64_t start = 0;
  while (start < n) {
    const int64_t left = n - start;
    // 64 columns are better halved than cut into 48 and 16
    const int vectors = left == 64 ? 2 : left >= 48 ? 3 : left > 16 ? 2 : 1;
    const int padded = 16 * vectors;
    const int width = left < padded ? static_cast<int>(left) : padded;
    const Tile tile = tile_of(p, start, width, vectors);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int b = 0; b < columns / side; b++)
        if (used[b])
          pack_rows(p, x, tile, vectors, static_cast<int64_t>(b) * side, side, scratch + static_cast<size_t>(b) * side * padded);
#pragma omp for schedule(static)
      for (int i = 0; i < block_rows; i++) {
        float edge[ROWS * 48], last_bias[ROWS];
        for (int g = 0; g < groups; g++) {
          const int row = i * side + g * ROWS;
          if (row >= rows) break;
          const size_t at = (static_cast<size_t>(i) * groups + g) * per_group;
          const bool whole = width == padded && row + ROWS <= rows;
          float* out = whole ? y + static_cast<size_t>(row) * n + start : edge;
          const size_t stride = whole ? static_cast<size_t>(n) : static_cast<size_t>(padded);
          const float* b = bias ? bias + row : nullptr;
          if (b && row + ROWS > rows) {  // the bias ends inside this group
            for (int r = 0; r < ROWS; r++) last_bias[r] = row + r < rows ? b[r] : 0.0f;
            b = last_bias;
          }
          const int32_t* kept_columns = blocks + static_cast<size_t>(i) * kept;
          if (vectors == 3)
            rows_times_tile<3>(values + at, offsets + at, kept_columns, kept, side, q, scratch, out, stride, b, relu);
          else if (vectors == 2)
            rows_times_tile<2>(values + at, offsets + at, kept_columns, kept, side, q, scratch, out, stride, b, relu);
          else
            rows_times_tile<1>(values + at, offsets + at, kept_columns, kept, side, q, scratch, out, stride, b, relu);
          if (!whole)
            for (int r = 0; r < ROWS && row + r < rows; r++)
              std::memcpy(y + static_cast<size_t>(row + r) * n + start, edge + r * padded, width * sizeof(float));
        }
      }
    }
    start += width;
  }
}

// y (rows) = scales w x (columns) + bias, then ReLU where asked; scales (rows) or none. Weights as floats (kind 0), as
// bfloat16 (1) or as integers of 8 bits (2). values, offsets: [block_rows][side / 16][kept][q][16].
void hybrid_matvec(const void* values, int kind, const float* scales, const uint8_t* offsets, const int32_t* blocks,
                   const float* x, float* y, const float* bias, int block_rows, int kept, int side, int q, int rows,
                   int relu, int threads) {
  const Shape shape{block_rows, kept, side, q, rows, relu != 0, threads};
  if (kind == 0)
    matvec(static_cast<const float*>(values), scales, offsets, blocks, x, y, bias, shape);
  else if (kind == 1)
    matvec(static_cast<const uint16_t*>(values), scales, offsets, blocks, x, y, bias, shape);
  else
    matvec(static_cast<const int8_t*>(values), scales, offsets, blocks, x, y, bias, shape);
}

}  // extern "C"
