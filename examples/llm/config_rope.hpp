#pragma once
// RoPE in config.json. Up to version 4 of transformers the base stands at the top and the rest in rope_scaling; from
// version 5 on all of it stands in rope_parameters. Files that serve both have both.
#include "model_config.hpp"
#include "rope.hpp"
#include "unknown_keys.hpp"

class config_rope {
public:
    explicit config_rope(const model_config& config) : c_(config) {
        for (const char* key : {"rope_parameters", "rope_scaling"}) {
            const qlib::json_value v = c_.root[key];
            if (model_config::is_there(v) && v.type() != qlib::json_type::object) c_.refuse(key, "an object is needed");
        }
    }

    [[nodiscard]] float base() const {
        const found theta = find({"rope_theta"});
        const float at_top = c_.number("rope_theta", 10000);
        if (!theta.value) return at_top;
        const float x = static_cast<float>(c_.number_of(theta.value, theta.key));
        if (c_.has("rope_theta") && x != at_top) c_.refuse(theta.key, "rope_theta at the top is another");
        return x;
    }
    [[nodiscard]] rope_scaling scaling() const {
        rope_scaling s;
        const found type = find({"rope_type", "type"});
        if (type.value.is("linear")) {
            refuse_others({"factor"});
            s.linear = needed("factor");
        } else if (type.value.is("llama3")) {
            refuse_others({"factor", "low_freq_factor", "high_freq_factor"});
            s.llama3 = llama3_scaling{needed("factor"), needed("low_freq_factor"), needed("high_freq_factor"),
                                      needed("original_max_position_embeddings")};
            if (s.llama3->low_freq_factor >= s.llama3->high_freq_factor)
                c_.refuse(find({"low_freq_factor"}).key, "it must be below high_freq_factor");
        } else if (!type.value || type.value.is("default")) {
            refuse_others({});
        } else {
            c_.refuse(type.key, std::string(type.value.text) + " is not implemented; default, linear and llama3 are");
        }
        return s;
    }

private:
    /// A value and its name in errors: "rope_scaling.factor".
    struct found {
        qlib::json_value value;
        std::string key;
    };
    /// use(value, name) for all members that are there, of both objects.
    template <class Use> void for_each_member(const Use& use) const {
        for (const char* object : {"rope_parameters", "rope_scaling"})
            for (const qlib::json_member m : c_.root[object].members()) {
                const std::string name = string_of(m.key);
                if (model_config::is_there(m.value)) use(m.value, name, std::string(object) + "." + name);
            }
    }
    /// What goes by one of these names. error: two that differ
    [[nodiscard]] found find(std::initializer_list<std::string_view> names) const {
        found first;
        for_each_member([&](qlib::json_value v, const std::string& name, const std::string& key) {
            if (std::ranges::find(names, name) == names.end()) return;
            if (!first.value) first = {v, key};
            else if (!same(first.value, v)) c_.refuse(key, first.key + " is another");
        });
        return first;
    }
    static bool same(qlib::json_value a, qlib::json_value b) {
        const auto x = a.as_float(), y = b.as_float();
        return x && y ? *x == *y : a.text == b.text;
    }
    /// A positive number that must be there.
    [[nodiscard]] double needed(const char* name) const {
        const found f = find({name});
        if (!f.value) c_.refuse(find({"rope_type", "type"}).key, std::string(name) + " is missing beside it");
        const double x = c_.number_of(f.value, f.key);
        if (!(x > 0)) c_.refuse(f.key, "a positive number is needed");
        return x;
    }
    /// Refuses members other than `used` and those that change nothing.
    void refuse_others(std::initializer_list<std::string_view> used) const {
        static constexpr std::string_view always[] = {"rope_theta", "rope_type", "type",
                                                      "original_max_position_embeddings", "finetuned"};
        const auto among = [](const auto& names, std::string_view name) {
            return std::ranges::find(names, name) != std::end(names);
        };
        for_each_member([&](qlib::json_value v, const std::string& name, const std::string& key) {
            if (!among(used, name) && !among(always, name) && !does_nothing(name, v)) c_.refuse(key, not_implemented);
        });
    }

    const model_config& c_;
};
