// Products of hybrid-sparse weights with dense matrices, one block-row after the other.
//
// A weight matrix (rows x columns) is cut into B x B blocks; every block-row keeps the same number of blocks, and every
// row of a kept block the same number q of weights (n:m within the block). Nothing is branched over: the work of all
// block-rows is equal, and so are the threads' shares.
//
// Values and offsets lie in the order in which the loops read them; see kernels.py (plan). Vectors of GCC and Clang, so
// that one text serves AVX-512, AVX2 and other processors.

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

// Columns [start, start + width) of a row of x as a row of the tile, zeros beyond.
inline void pack_row(const float* x, int start, int width, int padded, float* tile) {
  std::memcpy(tile, x + start, width * sizeof(float));
  for (int c = width; c < padded; c++) tile[c] = 0.0f;
}

}  // namespace

extern "C" {

// y (rows x n) = w x (k x n) + bias (rows), then ReLU where asked; rows of w and of x beyond are zeros.
// values, offsets: [block_rows][side / 8][kept][q][8]; blocks: [block_rows][kept]; scratch: columns * 48 floats, where
// columns is k filled up to whole blocks.
void hybrid_matmul(const float* values, const uint8_t* offsets, const int32_t* blocks, const float* x, float* y,
                   const float* bias, int block_rows, int kept, int side, int q, int k, int columns, int n,
                   int rows, int relu, int threads, float* scratch) {
  const size_t per_group = static_cast<size_t>(kept) * q * ROWS;
  const int groups = side / ROWS;
  int start = 0;
  while (start < n) {
    const int left = n - start;
    const int vectors = left >= 48 ? 3 : left > 16 ? 2 : 1;
    // 64 columns are better halved than cut into 48 and 16
    const int taken = left == 64 ? 2 : vectors;
    const int padded = 16 * taken;
    const int width = left < padded ? left : padded;
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int i = 0; i < columns; i++)
        pack_row(x + static_cast<size_t>(i < k ? i : 0) * n, start, i < k ? width : 0, padded,
                 scratch + static_cast<size_t>(i) * padded);
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
          if (taken == 3)
            rows_times_tile<3>(values + at, offsets + at, kept_columns, kept, side, q, scratch, out, stride, b, relu);
          else if (taken == 2)
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

// y (rows) = w x (k) + bias. values, offsets: [block_rows][side / 16][kept][q][16]; sixteen rows are sixteen lanes.
void hybrid_matvec(const float* values, const uint8_t* offsets, const int32_t* blocks, const float* x, float* y,
                   const float* bias, int block_rows, int kept, int side, int q, int rows, int relu, int threads) {
  const int groups = side / 16;
  const size_t per_group = static_cast<size_t>(kept) * q * 16;
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int i = 0; i < block_rows; i++) {
    const int32_t* columns = blocks + static_cast<size_t>(i) * kept;
    for (int g = 0; g < groups; g++) {
      const int row = i * side + g * 16;
      if (row >= rows) break;
      const float* v = values + (static_cast<size_t>(i) * groups + g) * per_group;
      const uint8_t* o = offsets + (static_cast<size_t>(i) * groups + g) * per_group;
      float sums[16];
#if defined(__AVX512F__)
      __m512 even = _mm512_setzero_ps(), odd = _mm512_setzero_ps();
      for (int j = 0; j < kept; j++) {
        const float* block = x + static_cast<size_t>(columns[j]) * side;
        const __m512 x0 = _mm512_loadu_ps(block);
        if (side == 16) {
          int u = 0;
          for (; u + 2 <= q; u += 2, v += 32, o += 32) {
            const __m512i at0 = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(o)));
            const __m512i at1 = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(o + 16)));
            even = _mm512_fmadd_ps(_mm512_loadu_ps(v), _mm512_permutexvar_ps(at0, x0), even);
            odd = _mm512_fmadd_ps(_mm512_loadu_ps(v + 16), _mm512_permutexvar_ps(at1, x0), odd);
          }
          for (; u < q; u++, v += 16, o += 16) {
            const __m512i at0 = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(o)));
            even = _mm512_fmadd_ps(_mm512_loadu_ps(v), _mm512_permutexvar_ps(at0, x0), even);
          }
        } else if (side == 32) {
          const __m512 x1 = _mm512_loadu_ps(block + 16);
          for (int u = 0; u < q; u++, v += 16, o += 16) {
            const __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(o)));
            even = _mm512_fmadd_ps(_mm512_loadu_ps(v), _mm512_permutex2var_ps(x0, at, x1), even);
          }
        } else {
          for (int u = 0; u < q; u++, v += 16, o += 16) {
            const __m512i at = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(o)));
            even = _mm512_fmadd_ps(_mm512_loadu_ps(v), _mm512_i32gather_ps(at, block, 4), even);
          }
        }
      }
      _mm512_storeu_ps(sums, _mm512_add_ps(even, odd));
#else
      for (int l = 0; l < 16; l++) sums[l] = 0.0f;
      for (int j = 0; j < kept; j++) {
        const float* block = x + static_cast<size_t>(columns[j]) * side;
        for (int u = 0; u < q; u++, v += 16, o += 16)
          for (int l = 0; l < 16; l++) sums[l] += v[l] * block[o[l]];
      }
#endif
      for (int l = 0; l < 16 && row + l < rows; l++) {
        float value = sums[l] + (bias ? bias[row + l] : 0.0f);
        y[row + l] = relu && value < 0.0f ? 0.0f : value;
      }
    }
  }
}

}  // extern "C"
