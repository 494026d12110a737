// The one source file behind qlib_c.h, linked with qlib::compiled, which holds every named format.
#include "qlib_c.h"

#include <qlib/any.hpp>
#include <qlib/calibrate/hessian.hpp>
#include <qlib/file/ggml_types.hpp>
#include <qlib/format/describe.hpp>
#include <qlib/formats.hpp>
#include <qlib/quantize.hpp>

#include <cstring>

struct qlib_hessian {
    qlib::hessian sums;
};

namespace {

using floats = qlib::matrix_view<const float>;

constexpr qlib_code code_of(qlib::errc c) {
    static_assert(static_cast<int>(qlib::errc::shape) + 1 == QLIB_SHAPE &&
                  static_cast<int>(qlib::errc::memory) + 1 == QLIB_MEMORY);
    return c <= qlib::errc::memory ? static_cast<qlib_code>(static_cast<int>(c) + 1) : QLIB_OTHER;
}

/// Hands an error on, and its code.
int failed(const qlib::error& e, qlib_error* out) {
    if (out != nullptr) {
        out->code = code_of(e.code);
        out->text[e.format({out->text, sizeof out->text - 1}).size()] = 0;
    }
    return code_of(e.code);
}
int done(const qlib::status& s, qlib_error* out) { return s ? QLIB_OK : failed(s.error(), out); }

qlib::error null_pointer(const char* what) { return {qlib::errc::argument, "the pointer is NULL", what, {}}; }

/// The caller's loop as qlib's executor.
struct borrowed_threads {
    const qlib_executor* with;
    void run(std::size_t count, qlib::task_ref task) const {
        with->run(
            with->context, count,
            [](void* data, std::size_t i, std::size_t worker) { (*static_cast<qlib::task_ref*>(data))(i, worker); },
            &task);
    }
    [[nodiscard]] std::size_t workers() const { return with->workers; }
};

/// use(call) on the caller's threads, or on this one.
template <class Use> auto with_threads(const qlib_executor* run, const Use& use) {
    if (run == nullptr) return use(qlib::call{});
    const borrowed_threads threads{run};
    return use(qlib::call{.run = threads});
}

qlib::format_id id_of(std::uint32_t format) { return static_cast<qlib::format_id>(format); }
std::span<std::byte> writable(void* data, std::size_t bytes) { return {static_cast<std::byte*>(data), bytes}; }
qlib::any_view view(std::uint32_t format, const void* data, std::size_t bytes, std::size_t rows, std::size_t cols) {
    return {id_of(format), {static_cast<const std::byte*>(data), bytes}, rows, cols, {}};
}
qlib::fit fit_of(qlib_fit f) {
    return f == QLIB_FIT_PLAIN ? qlib::fit::plain : f == QLIB_FIT_REFERENCE ? qlib::fit::reference : qlib::fit::search;
}
qlib::compute mode_of(qlib_compute m) {
    return m == QLIB_INTEGER ? qlib::compute::integer
           : m == QLIB_EXACT ? qlib::compute::exact
                             : qlib::compute::automatic;
}

/// NVFP4's rows as ggml has them: its encoder knows no tensor scale, which then is 1 and no part of its rows.
bool quantize_nvfp4_rows(floats W, std::span<std::byte> out, const qlib::quantize_options& options) {
    std::array<std::byte, 8> outer{};
    const auto to = qlib::qspan<qlib::nvfp4>::over(out, W.rows, W.cols, {.row_bytes = 0, .outer = outer});
    return to && qlib::quantize_into<qlib::nvfp4>(W, *to, qlib::reference_fit{}, options);
}
template <class T> std::size_t convert_rows(floats W, std::byte* out) {
    for (std::size_t i = 0; i < W.rows * W.cols; ++i) {
        const T x = T::from(W.data[i]);
        std::memcpy(out + i * sizeof x.bits, &x.bits, sizeof x.bits);
    }
    return W.rows * W.cols * sizeof(T::bits);
}

}  // namespace

extern "C" {

const char* qlib_version(void) {
    return QLIB_TEXT(QLIB_VERSION_MAJOR) "." QLIB_TEXT(QLIB_VERSION_MINOR) "." QLIB_TEXT(QLIB_VERSION_PATCH);
}

size_t qlib_format_count(void) { return qlib::all_format_ids.size(); }
uint32_t qlib_format_at(size_t i) {
    return i < qlib::all_format_ids.size() ? static_cast<std::uint32_t>(qlib::all_format_ids[i])
                                           : std::numeric_limits<std::uint32_t>::max();
}
const char* qlib_format_name(uint32_t format) { return qlib::format_name(id_of(format)).data(); }
int qlib_format_named(const char* name, uint32_t* format, qlib_error* error) {
    if (name == nullptr || format == nullptr) return failed(null_pointer("name or format"), error);
    const auto found = qlib::format_named(name);
    if (!found) return failed(found.error(), error);
    *format = static_cast<std::uint32_t>(*found);
    return QLIB_OK;
}

size_t qlib_describe(uint32_t format, char* out, size_t size) {
    const auto length = qlib::visit(id_of(format), [&]<qlib::block_format F>() -> qlib::result<std::size_t> {
        return qlib::to_json(qlib::describe<F>(), {out, size}, qlib::format_name(id_of(format)));
    });
    return length ? *length : 0;
}

int qlib_wire_size(uint32_t format, size_t rows, size_t cols, size_t* bytes, qlib_error* error) {
    if (bytes == nullptr) return failed(null_pointer("bytes"), error);
    const auto size = qlib::wire_size(id_of(format), rows, cols);
    if (!size) return failed(size.error(), error);
    *bytes = *size;
    return QLIB_OK;
}

int qlib_quantize(uint32_t format, const float* W, size_t rows, size_t cols, const float* importance, qlib_fit fit,
                  void* out, size_t out_bytes, const qlib_executor* run, qlib_error* error) {
    if (W == nullptr || out == nullptr) return failed(null_pointer("W or out"), error);
    const qlib::quantize_options options{.fit = fit_of(fit),
                                         .importance = {importance, importance != nullptr ? cols : 0}};
    return with_threads(run, [&](const qlib::call& how) {
        return done(qlib::quantize_into(id_of(format), floats{W, rows, cols}, writable(out, out_bytes), options, how),
                    error);
    });
}

int qlib_dequantize(uint32_t format, const void* weights, size_t bytes, size_t rows, size_t cols, float* out,
                    const qlib_executor* run, qlib_error* error) {
    if (weights == nullptr || out == nullptr) return failed(null_pointer("weights or out"), error);
    return with_threads(run, [&](const qlib::call& how) {
        return done(qlib::dequantize(view(format, weights, bytes, rows, cols), {out, rows, cols}, how), error);
    });
}

int qlib_qgemm(float* Y, const float* X, size_t n, uint32_t format, const void* weights, size_t bytes, size_t rows,
               size_t cols, qlib_compute mode, const qlib_executor* run, qlib_error* error) {
    if (Y == nullptr || X == nullptr || weights == nullptr) return failed(null_pointer("Y, X or weights"), error);
    return with_threads(run, [&](const qlib::call& how) {
        return done(qlib::qgemm({Y, n, rows}, floats{X, n, cols}, view(format, weights, bytes, rows, cols),
                                {.mode = mode_of(mode)}, how),
                    error);
    });
}

int qlib_hessian_create(size_t cols, qlib_hessian** hessian, qlib_error* error) {
    if (hessian == nullptr) return failed(null_pointer("hessian"), error);
    auto sums = qlib::hessian::make(cols);
    if (!sums) return failed(sums.error(), error);
    *hessian = new (std::nothrow) qlib_hessian{std::move(*sums)};
    return *hessian != nullptr
               ? QLIB_OK
               : failed({qlib::errc::memory, "no memory for {0} bytes", "hessian", {sizeof(qlib_hessian)}}, error);
}
int qlib_hessian_add(qlib_hessian* hessian, const float* X, size_t n, const qlib_executor* run, qlib_error* error) {
    if (hessian == nullptr || X == nullptr) return failed(null_pointer("hessian or X"), error);
    return with_threads(run, [&](const qlib::call& how) {
        return done(hessian->sums.add(floats{X, n, hessian->sums.cols()}, how), error);
    });
}
void qlib_hessian_destroy(qlib_hessian* hessian) { delete hessian; }

int qlib_gptq(uint32_t format, const float* W, size_t rows, size_t cols, const qlib_hessian* hessian, float damping,
              qlib_fit fit, void* out, size_t out_bytes, qlib_gptq_report* report, const qlib_executor* run,
              qlib_error* error) {
    if (W == nullptr || hessian == nullptr || out == nullptr) return failed(null_pointer("W, hessian or out"), error);
    const auto made = with_threads(run, [&](const qlib::call& how) {
        return qlib::gptq(id_of(format), floats{W, rows, cols}, hessian->sums, writable(out, out_bytes),
                          {.damping = damping, .fit = fit_of(fit)}, how);
    });
    if (!made) return failed(made.error(), error);
    if (report != nullptr)
        *report = {made->loss,           made->loss_rtn,    made->rows_rounded,
                   made->factor.damping, made->factor.rung, made->factor.dead_columns};
    return QLIB_OK;
}

size_t qlib_quantize_chunk(int type, const float* src, void* dst, int64_t start, int64_t nrows, int64_t n_per_row,
                           const float* imatrix) {
    if (src == nullptr || dst == nullptr || start < 0 || nrows <= 0 || n_per_row <= 0 || start % n_per_row != 0)
        return 0;
    const auto rows = static_cast<std::size_t>(nrows), cols = static_cast<std::size_t>(n_per_row),
               first = static_cast<std::size_t>(start) / cols;
    const floats W{src + start, rows, cols};
    auto* const out = static_cast<std::byte*>(dst);
    const auto known = qlib::ggml_type_info(static_cast<std::uint32_t>(type));
    if (!known || cols % known->elements != 0) return 0;
    std::byte* const to = out + first * (cols / known->elements * known->bytes);
    if (type == 0) return convert_rows<qlib::f32>(W, to);
    if (type == 1) return convert_rows<qlib::f16>(W, to);
    if (type == 30) return convert_rows<qlib::bf16>(W, to);
    const auto id = static_cast<qlib::format_id>(type);
    const std::size_t bytes = rows * (cols / known->elements * known->bytes);
    const qlib::quantize_options options{.fit = qlib::fit::reference,
                                         .importance = {imatrix, imatrix != nullptr ? cols : 0}};
    const bool ok = id == qlib::format_id::nvfp4 ? quantize_nvfp4_rows(W, {to, bytes}, options)
                                                 : bool{qlib::quantize_into(id, W, {to, bytes}, options)};
    return ok ? bytes : 0;
}

}  // extern "C"
