/* qlib for C, and for whatever can call C: quantize, dequantize, multiply, GPTQ. Compile qlib_c.cpp into your program
 * or into a library.
 *
 * Ownership: all memory is the caller's and is only used during the call, but for qlib_hessian, which
 * qlib_hessian_destroy frees. Texts that are returned live as long as the library.
 * Matrices are row-major without gaps. Quantized ones are qlib_wire_size bytes at any address.
 * Errors: functions that can fail return QLIB_OK (0) or another qlib_code; `error`, if not NULL, then receives the code
 * and a sentence.
 * Threads: there are no globals; calls on different objects may run at the same time. `run`, if not NULL, lends the
 * call its threads.
 */
#ifndef QLIB_C_H
#define QLIB_C_H
#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define QLIB_C_API __declspec(dllexport)
#else
#define QLIB_C_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    QLIB_OK = 0,
    QLIB_SHAPE,        /* two operands disagree, or a size overflows */
    QLIB_RAGGED,       /* the format's rows must hold whole blocks */
    QLIB_UNSLICEABLE,  /* blocks run over row ends */
    QLIB_NON_FINITE,   /* a NaN or an infinity in the input */
    QLIB_OVERFLOW,     /* a scale that the format cannot store */
    QLIB_IMPORTANCE,   /* an importance that is negative or not finite */
    QLIB_UNSUPPORTED,  /* this format or machine cannot do it */
    QLIB_ARGUMENT,     /* an argument outside its range, or NULL */
    QLIB_MEMORY,       /* an allocation failed */
    QLIB_OTHER         /* anything else; the text says what */
} qlib_code;

typedef enum { QLIB_FIT_PLAIN, QLIB_FIT_SEARCH, QLIB_FIT_REFERENCE } qlib_fit;
typedef enum { QLIB_AUTOMATIC, QLIB_INTEGER, QLIB_EXACT } qlib_compute;

typedef struct {
    int code;        /* a qlib_code */
    char text[252];  /* what is wrong, with the numbers; ends with a zero */
} qlib_error;

/* A parallel loop of the caller's: calls task(data, i, worker) once for each i < count, never two at a time with the
 * same worker number below `workers`, and returns when all are done. */
typedef struct {
    void* context;
    size_t workers;
    void (*run)(void* context, size_t count, void (*task)(void* data, size_t i, size_t worker), void* data);
} qlib_executor;

typedef struct qlib_hessian qlib_hessian; /* the sum of x x^T over activations x */

typedef struct {
    double loss, loss_rtn;  /* sum of (w - q) H (w - q)^T of what was written, and of rounding to nearest */
    size_t rows_rounded;    /* rows where rounding to nearest was better, and kept */
    float damping;          /* the one that was used */
    int rung;               /* how often it had to grow */
    size_t dead_columns;
} qlib_gptq_report;

QLIB_C_API const char* qlib_version(void); /* "0.1.0" */

/* Formats are numbers: ggml's own for ggml's formats. The i-th of qlib_format_count(); its name, "Q4_K", or NULL; the
 * number of a name. */
QLIB_C_API size_t qlib_format_count(void);
QLIB_C_API uint32_t qlib_format_at(size_t i);
QLIB_C_API const char* qlib_format_name(uint32_t format);
QLIB_C_API int qlib_format_named(const char* name, uint32_t* format, qlib_error* error);

/* A format as JSON, so that its bytes can be read elsewhere (qlib/format/describe.hpp says how). Writes up to `size`
 * characters and returns how many there are; 0 for a format that there is not. No zero at the end. */
QLIB_C_API size_t qlib_describe(uint32_t format, char* out, size_t size);

/* Bytes of rows x cols weights. */
QLIB_C_API int qlib_wire_size(uint32_t format, size_t rows, size_t cols, size_t* bytes, qlib_error* error);

/* out = W (rows, cols) in a format. importance: one per column, >= 0, or NULL. */
QLIB_C_API int qlib_quantize(uint32_t format, const float* W, size_t rows, size_t cols, const float* importance,
                             qlib_fit fit, void* out, size_t out_bytes, const qlib_executor* run, qlib_error* error);

/* out (rows, cols) = the weights as floats. */
QLIB_C_API int qlib_dequantize(uint32_t format, const void* weights, size_t bytes, size_t rows, size_t cols, float* out,
                               const qlib_executor* run, qlib_error* error);

/* Y (n, rows) = X (n, cols) * weights^T. */
QLIB_C_API int qlib_qgemm(float* Y, const float* X, size_t n, uint32_t format, const void* weights, size_t bytes,
                          size_t rows, size_t cols, qlib_compute mode, const qlib_executor* run, qlib_error* error);

/* A Hessian of no tokens; then tokens X (n, cols), as often as there are more. Destroying NULL does nothing. */
QLIB_C_API int qlib_hessian_create(size_t cols, qlib_hessian** hessian, qlib_error* error);
QLIB_C_API int qlib_hessian_add(qlib_hessian* hessian, const float* X, size_t n, const qlib_executor* run,
                                qlib_error* error);
QLIB_C_API void qlib_hessian_destroy(qlib_hessian* hessian);

/* out = W (rows, cols) by GPTQ. damping: a share of the Hessian's mean diagonal, 0.01 as a rule. report may be NULL. */
QLIB_C_API int qlib_gptq(uint32_t format, const float* W, size_t rows, size_t cols, const qlib_hessian* hessian,
                         float damping, qlib_fit fit, void* out, size_t out_bytes, qlib_gptq_report* report,
                         const qlib_executor* run, qlib_error* error);

/* In the shape of ggml_quantize_chunk, and with its bytes: rows start / n_per_row and nrows - 1 more of the matrix that
 * begins at src, into the matrix that begins at dst. type: a ggml_type that quantizes, F32, F16 or BF16. imatrix: one
 * per column, or NULL. Returns the bytes written; 0 where ggml would abort, and where weights or imatrix are not
 * finite, or a scale cannot be stored. */
QLIB_C_API size_t qlib_quantize_chunk(int type, const float* src, void* dst, int64_t start, int64_t nrows,
                                      int64_t n_per_row, const float* imatrix);

#ifdef __cplusplus
}
#endif
#endif
