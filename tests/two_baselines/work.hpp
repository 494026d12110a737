// What both files do with qlib: every primitive, over formats of every kind. Nothing
// here has linkage: each file keeps its own.
#include <qlib/qlib.hpp>
#if defined(__OPTIMIZE__)  // else std::mutex and std::thread are functions of their own, which no header can name
#include <qlib/core/thread_pool.hpp>
#endif

namespace {

/// FNV-1a of all results.
class digest {
public:
    void add(std::span<const std::byte> bytes) {
        for (const std::byte b : bytes) value_ = (value_ ^ std::to_integer<std::uint64_t>(b)) * 0x100000001B3u;
    }
    template <class T> void add(std::span<const T> values) { add(std::as_bytes(values)); }
    [[nodiscard]] std::uint64_t value() const { return value_; }

private:
    std::uint64_t value_ = 0xCBF29CE484222325u;
};

template <std::size_t N> struct sample {
    float values[N];
    explicit sample(std::uint32_t seed) {
        for (float& v : values) {
            seed = seed * 1664525u + 1013904223u;
            v = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31f;
        }
    }
};

constexpr std::size_t rows = 9, cols = 512, tokens = 7;
const sample<rows * cols> weights(1);
const sample<tokens * cols> inputs(2);
constexpr qlib::matrix_view<const float> W{weights.values, rows, cols}, X{inputs.values, tokens, cols};

/// Quantizes with a fit object, by rounding and by GPTQ; decodes; multiplies.
template <qlib::block_format F, class Fit>
bool use_format(digest& d, const qlib::hessian_factor& factor, const Fit& fit) {
#if defined(__OPTIMIZE__)
    qlib::thread_pool pool(2);
    const qlib::call how{.run = pool};
#else
    const qlib::call how;
#endif
    const auto g = qlib::gptq<F>(W, factor, fit, {}, how);
    const auto q = qlib::quantize<F>(W, fit, {}, how);
    float decoded[rows * cols], Y[tokens * rows];
    if (!g || !q || !qlib::dequantize(*q, {decoded, rows, cols}, how)) return false;
    d.add(g->weights.bytes());
    d.add(q->bytes());
    d.add(std::span<const float>(decoded));
    for (const qlib::compute mode : {qlib::compute::automatic, qlib::compute::exact})
        if (!qlib::qgemm({Y, tokens, rows}, X, *q, {.mode = mode}, how)) return false;
    const qlib::gemm_job jobs[] = {{{Y, tokens, rows}, X, *q}};
    const auto plan = qlib::plan_qgemm(qlib::matrix_view{Y, tokens, rows}, X, *q);
    if (!plan || !qlib::qgemm_grouped(jobs, {}, how)) return false;
    for (std::size_t stage = 0; stage < plan->stages(); ++stage)
        for (std::size_t task = 0; task < plan->tasks(stage); ++task) plan->run(stage, task, 0);
    return true;
}

bool use_formats(digest& d) {
    auto h = qlib::hessian::make(cols);
    if (!h || !h->add(X)) return false;
    const auto simple = qlib::gptq<qlib::q8_0>(W, *h, {.fit = qlib::fit::plain});
    const auto factor = qlib::factorize(std::move(*h));
    if (!simple || !factor) return false;
    d.add(simple->weights.bytes());
    return use_format<qlib::q4_k>(d, *factor, qlib::reference_fit{}) &&
           use_format<qlib::int4_g128_asym>(d, *factor, qlib::search_fit{}) &&
           use_format<qlib::nf4_dq>(d, *factor, qlib::plain_fit{}) &&
           use_format<qlib::nvfp4>(d, *factor, qlib::plain_fit{}) &&
           use_format<qlib::fp8_e4m3_row>(d, *factor, qlib::search_fit{});
}

/// A GGUF file of one tensor, written and read.
bool use_gguf(digest& d) {
    static std::byte file[1024];
    std::size_t size = 0;
    auto sink = [&](std::span<const std::byte> bytes) {
        std::memcpy(file + size, bytes.data(), bytes.size());
        size += bytes.size();
        return true;
    };
    const sample<32> weights(3);
    const std::array<std::uint64_t, 1> shape{32};
    qlib::gguf_writer out;
    if (!out.set("general.architecture", "none") || !out.set("general.alignment", std::uint32_t{32})) return false;
    if (!out.add_tensor("w", 0, shape) || !out.begin(sink) ||
        !out.write("w", std::as_bytes(std::span(weights.values))) || !out.finish())
        return false;
    const auto in = qlib::gguf_file::parse({file, size});
    if (!in || in->find("general.architecture") == nullptr || in->find_tensor("w") == nullptr) return false;
    d.add(std::span<const std::byte>(file, size));
    return true;
}

/// 0 when something failed.
std::uint64_t work() {
    digest d;
    const bool done = use_formats(d) && use_gguf(d);
    char sentence[80];
    d.add(std::span<const char>(qlib::error{qlib::errc::shape, "{0}", "X", {1}}.format(sentence, "name")));
    return done ? d.value() : 0;
}

}  // namespace
