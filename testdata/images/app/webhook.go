package main

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// admissionReview is the part of admission.k8s.io/v1's type that review uses.
type admissionReview struct {
	APIVersion string             `json:"apiVersion"`
	Kind       string             `json:"kind"`
	Request    *admissionRequest  `json:"request,omitempty"`
	Response   *admissionResponse `json:"response,omitempty"`
}

type admissionRequest struct {
	UID    string `json:"uid"`
	Object struct {
		Metadata struct {
			Name   string            `json:"name"`
			Labels map[string]string `json:"labels"`
		} `json:"metadata"`
	} `json:"object"`
}

type admissionResponse struct {
	UID     string           `json:"uid"`
	Allowed bool             `json:"allowed"`
	Status  *admissionStatus `json:"status,omitempty"`
}

type admissionStatus struct {
	Message string `json:"message"`
}

// review denies objects that have the label kl.test/deny; the label's value is the reason.
func review(w http.ResponseWriter, r *http.Request) {
	var in admissionReview
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Request == nil {
		http.Error(w, "want an AdmissionReview", http.StatusBadRequest)
		return
	}
	meta := in.Request.Object.Metadata
	out := &admissionResponse{UID: in.Request.UID, Allowed: true}
	if reason, ok := meta.Labels["kl.test/deny"]; ok {
		out.Allowed = false
		out.Status = &admissionStatus{Message: "the test webhook denies " + meta.Name + ": " + reason}
	}
	fmt.Println("review", meta.Name, out.Allowed)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionReview{APIVersion: in.APIVersion, Kind: in.Kind, Response: out})
}
